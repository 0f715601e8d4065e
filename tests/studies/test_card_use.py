"""Where the card is lost: losses, states and attention of a twin against plain computations, and a probe on planted states that hold the card or do not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from polypersona_lib import paths
from polypersona_lib.config import RunConfig
from polypersona_lib.models.adapters import load_for_inference
from polypersona_lib.models.loading import load_tokenizer
from polypersona_lib.prompts import chat
from polypersona_lib.registry import get_spec
from polypersona_lib.studies.fidelity import attribute_probes, card_use
from polypersona_lib.world import dataset, personas

SPEC = get_spec("tinyllama-1.1b")


@pytest.fixture(scope="module")
def split():
    return dataset.read_split(paths.DATASET / "paper", "test")


@pytest.fixture(scope="module")
def twin():
    return load_for_inference(SPEC, "nano", None), load_tokenizer(SPEC, "nano")


def test_everybody_is_asked_once_and_gets_somebody_elses_card(split):
    rows = card_use.card_rows(split, seed=1, most=30)
    assert len(rows) == rows["persona_id"].nunique() == 30
    assert all(own["persona_id"] != other["persona_id"] for own, other in zip(rows["persona"], rows["other"], strict=True))
    assert card_use.card_rows(split, seed=1, most=30).equals(rows) and not card_use.card_rows(split, seed=2, most=30).equals(rows)


def test_a_record_with_its_own_card_is_itself_and_nobody_is_described_without_one(split):
    row = split.iloc[0]
    assert card_use.with_card(row["messages"], row["persona"]) == row["messages"]
    assert card_use.with_card(row["messages"], None) == chat.without_persona(row["messages"])
    changed = card_use.with_card(row["messages"], "A retired teacher.")[1]["content"]
    assert changed.startswith("Persona: A retired teacher.\nDomain: ") and chat.render_card(row["persona"]) not in changed


def test_the_cost_of_an_answer_is_the_plain_cross_entropy_of_its_tokens(twin, split):
    model, tokenizer = twin
    triplets = split["messages"].tolist()[:5]
    costs = card_use.answer_nats(model, tokenizer, triplets)
    for triplet, cost in zip(triplets, costs, strict=True):
        row = chat.encode(tokenizer, triplet)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row.ids])).logits[0, -len(row.answer) - 1 : -1]
        assert cost == pytest.approx(float(torch.nn.functional.cross_entropy(logits, torch.tensor(row.answer))), abs=1e-4)


def test_a_card_that_changes_nothing_is_worth_exactly_nothing(twin, split):
    rows = card_use.card_rows(split, seed=1, most=12)
    losses = card_use.card_losses(*twin, rows.assign(other=rows["persona"]))
    worth = card_use.card_worth(losses, seed=1)
    assert worth.loc["stranger", ["nats", "lo", "hi"]].abs().max() < 1e-6 and abs(worth.loc["nobody", "nats"]) > 1e-4 and (worth["n"] == 12).all()
    assert worth["own"].to_numpy() == pytest.approx(losses["own"].mean())


def test_states_and_attention_are_those_of_each_prompt_alone(twin, split):
    """Padding beside longer prompts changes nothing; attention is normalised over all tokens but the first; the model goes on as it was."""
    model, tokenizer = twin
    triplets, kind = split["messages"].tolist()[:5], model.config._attn_implementation
    answers, cards, attention = card_use.states_and_attention(model, tokenizer, triplets, SPEC.control)
    assert model.config._attn_implementation == kind and answers.shape == cards.shape == (5, 5, 128)
    alone = [card_use.states_and_attention(model, tokenizer, [triplet], SPEC.control) for triplet in triplets]
    np.testing.assert_allclose(answers, np.concatenate([one[0] for one in alone], axis=1), atol=2e-4)
    np.testing.assert_allclose(cards, np.concatenate([one[1] for one in alone], axis=1), atol=2e-4)
    np.testing.assert_allclose(attention["card"], np.mean([one[2]["card"] for one in alone], axis=0), atol=1e-4)
    assert attention["card"].between(0, 1).all() and attention["even"].between(0.1, 0.9).all()
    ids = sum(chat.encode_prompt(tokenizer, triplets[0]), [])
    with torch.no_grad():
        states = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    np.testing.assert_allclose(answers[:, 0], np.stack([layer[0, -1].numpy() for layer in states]), atol=2e-4)
    assert np.ptp(answers[0], axis=0).max() == 0, "the embedding of the last token knows nothing of the prompt"


def test_a_probe_finds_a_card_that_is_in_the_states_and_none_that_is_not(monkeypatch):
    cards = personas.fresh_personas(120, 5)
    labels = attribute_probes.card_labels(cards, fewest=attribute_probes.FEWEST_WITH).to_numpy()
    noise = np.random.default_rng(1).normal(size=(2, *labels.shape))
    at_card, at_answer = np.stack([labels + 0.1 * noise[0], labels + 0.1 * noise[0]]), np.stack([np.zeros_like(labels), noise[1]])
    attention = pd.DataFrame({"card": [0.3], "even": 0.5}, index=pd.RangeIndex(1, 2, name="layer"))
    monkeypatch.setattr(card_use, "states_and_attention", lambda *_: (at_answer, at_card, attention))
    rows = pd.DataFrame({"persona": cards, "messages": [None] * 120})
    table = card_use.card_layers(None, None, rows, seed=1)
    assert list(table.index) == [0, 1] and (table["at_card"] > 0.95).all()
    assert table.loc[0, "at_answer"] == 0.5 and abs(table.loc[1, "at_answer"] - 0.5) < 0.04 and table["chance"].between(0.5, 0.56).all()
    assert np.isnan(table.loc[0, "card"]) and table.loc[1, "card"] == 0.3
    words = card_use.card_layers(None, None, rows.assign(persona="a person in words"), seed=1)
    assert words[["at_card", "at_answer"]].isna().all().all() and words.loc[1, "even"] == 0.5, "a card in words has no attributes to be read"


def test_both_systems_of_a_run_stand_in_both_tables_and_a_run_without_an_adapter_says_so(tmp_path, split, monkeypatch):
    monkeypatch.setitem(card_use.card_rows.__kwdefaults__, "most", 10)
    worth, layers = card_use.card_use(RunConfig(out=str(tmp_path)), "tinyllama-1.1b", split)
    assert set(worth["system"]) == set(layers["system"]) == {"tinyllama-1.1b", "tinyllama-1.1b--base"}
    assert worth.groupby("system")["own"].first()["tinyllama-1.1b"] < worth.groupby("system")["own"].first()["tinyllama-1.1b--base"]
    monkeypatch.setattr(card_use, "ROOT", tmp_path)
    with pytest.raises(FileNotFoundError, match="no adapter here; run notebook 03 first"):
        card_use.card_use(RunConfig(out=str(tmp_path)), "tinyllama-1.1b", split)
