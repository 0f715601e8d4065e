"""The embedded data set meets the paper's counts exactly and its text is varied; the measures of `audit` are right at their limits."""

import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from polypersona_lib import paths, resampling
from polypersona_lib.config import RunConfig
from polypersona_lib.prompts import chat
from polypersona_lib.scoring import option_labels
from polypersona_lib.texts import text_measures
from polypersona_lib.world import audit, build, clusters, dataset, paper, personas, phrases, simulation
from polypersona_lib.world.questions import DOMAINS, SCALES, load_questions


@pytest.fixture(scope="module")
def built() -> pd.DataFrame:
    return simulation.simulate_records(42)


@pytest.fixture(scope="module")
def configurations() -> dict[str, dict[str, pd.DataFrame]]:
    return {split: {part: dataset.read_split(paths.DATASET / split, part) for part in dataset.SPLITS} for split in ("paper", "grouped")}


@pytest.fixture(scope="module")
def everyone(configurations) -> pd.DataFrame:
    parts = configurations["paper"]
    return option_labels.with_targets(pd.concat([frame.assign(part=part) for part, frame in parts.items()], ignore_index=True))


# --- counts ------------------------------------------------------------------------------------------------------------------


def test_every_count_of_the_paper(everyone):
    assert len(everyone) == 3568 and everyone["persona_id"].nunique() == 433 and everyone["question_id"].nunique() == 82
    assert everyone["id"].is_unique and everyone["question"].nunique() == 82
    assert [paper.DOMAIN_RECORDS[d] for d in DOMAINS] == [520, 416, 416, 400, 384, 368, 368, 264, 216, 216]
    assert everyone["domain"].value_counts().to_dict() == paper.DOMAIN_RECORDS
    assert everyone["question_type"].value_counts().to_dict() == {"open": 1524, "likert": 1130, "yesno": 652, "agreement": 262}
    assert Counter(q.type for q in load_questions().values()) == {"open": 35, "likert": 26, "yesno": 15, "agreement": 6}
    assert audit.people(everyone)["domains"].value_counts().to_dict() == {1: 309, 2: 124}
    category = everyone["persona"].map(lambda card: card["category"]).value_counts(normalize=True) * 100
    shares = {"professional": 17.8, "educator": 14.2, "student": 12.5, "health": 11.3, "technical": 10.7}
    assert {kind: round(category[kind], 1) for kind in shares} == shares
    assert everyone["question_id"].value_counts().between(41, 49).all()
    table = audit.counts_table(everyone)
    assert table["same"].all() and len(table) == 24


def test_counts_table_sees_a_missing_record(everyone):
    table = audit.counts_table(everyone.iloc[1:]).set_index("what")
    assert not table.loc["records", "same"] and table["same"].sum() < len(table)


def test_splits_of_both_configurations(configurations):
    for split, parts in configurations.items():
        assert {part: len(frame) for part, frame in parts.items()} == {"train": 2854, "validation": 357, "test": 357}, split
        report = dataset.leakage_report(parts)
        assert not any(n for what, n in report.items() if "pair" in what or "duplicate" in what or "word for word" in what), report
        whole = pd.concat(parts.values())
        for key in ("domain", "question_type"):
            share = whole[key].value_counts(normalize=True)
            gaps = [frame[key].value_counts(normalize=True).sub(share, fill_value=0).abs().max() for frame in parts.values()]
            assert max(gaps) < 0.02, (split, key, gaps)
    people = {part: set(frame["persona_id"]) for part, frame in configurations["grouped"].items()}
    assert {part: len(ids) for part, ids in people.items()} == {"train": 345, "validation": 47, "test": 41}
    assert not people["train"] & people["validation"] and not people["train"] & people["test"] and not people["validation"] & people["test"]
    ids = [sorted(pd.concat(parts.values())["id"]) for parts in configurations.values()]
    assert ids[0] == ids[1]


def test_leakage_is_seen(configurations):
    parts = dict(configurations["grouped"])
    parts["test"] = pd.concat([parts["test"], parts["train"].head(3)])
    report = dataset.leakage_report(parts)
    assert report["test: persona-question pairs in train"] == 3 and report["test: rows whose persona is in train"] == 3
    assert report["persona-question pairs asked twice"] == 3 and report["duplicate ids"] == 3


def test_records_hold_what_they_say(everyone):
    questions = load_questions()
    for row in everyone.itertuples():
        question = questions[row.question_id]
        assert (row.domain, row.question, row.question_type) == (question.domain, question.text, question.type)
        expected = chat.messages(row.persona, DOMAINS[question.domain], question.text, question.options, row.reference)
        assert row.messages == expected and [m["role"] for m in row.messages] == ["system", "user", "assistant"]
        assert row.truth["option"] in range(len(question.options)) if question.options else row.truth["option"] == -1
        assert not chat.find_control_text(row.reference) and "{" not in row.reference


# --- text --------------------------------------------------------------------------------------------------------------------


def test_text_is_varied(everyone):
    assert everyone["reference"].nunique() / len(everyone) >= 0.99
    overall, within = audit.four_gram_shares(everyone)
    assert overall["share"].max() <= 0.04, overall.head()
    assert within["share"].max() <= 0.20, within.head()
    words = everyone["reference"].str.split().str.len().groupby(everyone["question_type"]).mean()
    assert 35 <= words["open"] <= 70
    assert words.drop("open").between(12, 40).all()


def test_closed_items_divide_people(everyone):
    items = audit.closed_items(everyone)
    assert len(items) == 47
    assert items["minority_side"].min() >= 0.08, items["minority_side"].nsmallest(3)
    assert items.loc[items["options"] == 5, "points"].min() >= 4 and (items.loc[items["options"] == 2, "points"] == 2).all()
    led = (items["label_led"] * items["answers"]).sum() / items["answers"].sum()
    truth = np.mean([t["label_led"] for t in everyone.loc[everyone["question_type"] != "open", "truth"]])
    assert truth >= 0.5 and truth - 0.01 <= led <= truth + 0.06  # some plain sentences open with the option's word by themselves


def test_phrase_bank_is_rich_and_keeps_its_rules(capsys):
    status = phrases.main()
    summary = capsys.readouterr().out.strip().splitlines()[-1]
    assert status == 0 and summary.endswith(" 0 breaches"), summary
    entries = [e for file in sorted(paths.PHRASES.glob("*.yaml")) for e in phrases.load_phrases(file).values()]
    patterns = {" ".join(phrases.words(phrases.parse_pattern("x", line).text)) for entry in entries for _, line in phrases.iter_lines(entry)}
    assert len(patterns) >= 2000


def test_no_card_is_impossible_and_the_check_works():
    cards = personas.draw_population(42)
    assert len(cards) == 433 and not [p for card in cards for p in personas.impossible(card)]
    elder = next(c for c in cards if c["age"] >= 60)
    assert personas.impossible(elder | {"age": 19, "education": "graduate degree"})
    assert personas.impossible(elder | {"age": 17}) and personas.impossible(elder | {"traits": ["calm", "anxious"]})


# --- files -------------------------------------------------------------------------------------------------------------------

BUILD = """
import sys
from pathlib import Path
from polypersona_lib.world import dataset, simulation
frame = simulation.simulate_records(42)
for split in ("paper", "grouped"):
    dataset.write_splits(frame, split, Path(sys.argv[1]) / split)
"""


def test_the_same_bytes_whatever_the_hash_seed(tmp_path):
    names = [f"{split}/{part}.parquet" for split in ("paper", "grouped") for part in dataset.SPLITS]
    for seed in ("0", "4711"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(paths.ROOT)}
        subprocess.run([sys.executable, "-c", BUILD, str(tmp_path / seed)], env=environment, check=True)
    for name in names:
        shipped = (paths.DATASET / name).read_bytes()
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "4711" / name).read_bytes() == shipped, name


def test_another_seed_keeps_the_counts_and_changes_the_text(built):
    other = simulation.simulate_records(7)
    assert other["domain"].value_counts().to_dict() == built["domain"].value_counts().to_dict()
    assert other["question_type"].value_counts().to_dict() == built["question_type"].value_counts().to_dict()
    assert other["paper"].value_counts().to_dict() == other["grouped"].value_counts().to_dict() == dataset.SPLIT_ROWS
    again = built["reference"].isin(set(other["reference"]))  # short answers without a slot can be put together twice
    assert not set(other["persona"]) & set(built["persona"]) and again.mean() < 0.11 and again[built["question_type"] == "open"].mean() < 0.01


@pytest.mark.parametrize("name", ["paper", "grouped"])
def test_datasets_library_loads_it(name, tmp_path):
    from datasets import load_dataset

    data = load_dataset(str(paths.DATASET), name, cache_dir=str(tmp_path))
    assert {part: data[part].num_rows for part in data} == dataset.SPLIT_ROWS
    assert tuple(data["train"].column_names) == dataset.COLUMNS
    assert [m["role"] for m in data["test"][0]["messages"]] == ["system", "user", "assistant"]


def test_smoke_subset(built):
    small = build.subset(built, 200, "grouped")
    assert len(small) == 200 and small["grouped"].value_counts().to_dict() == {"train": 160, "validation": 20, "test": 20}


# --- audit -------------------------------------------------------------------------------------------------------------------


def test_cramers_v_at_its_limits():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, 2000), rng.integers(0, 6, 2000)
    assert audit.cramers_v(a, a) == pytest.approx(1.0, abs=1e-3)
    assert audit.cramers_v(a, b) < 0.05
    assert np.isnan(audit.cramers_v(a, np.ones(2000)))
    part = np.where(rng.random(2000) < 0.5, a, rng.integers(0, 4, 2000))
    assert audit.cramers_v(a, part) == pytest.approx(0.5, abs=0.05)
    table = audit.cramers_v_table(pd.DataFrame({"a": a, "b": b, "c": part}))
    assert (table == table.T).all().all() and (np.diag(table) == 1).all() and table.loc["a", "c"] == audit.cramers_v(part, a)


def test_attributes_are_associated_plausibly(everyone):
    people = audit.people(everyone)
    attributes = audit.card_attributes(people["persona"])
    assert list(attributes.columns) == list(audit.ATTRIBUTES) and attributes.notna().all().all()
    table = audit.cramers_v_table(attributes)
    assert table.loc["age", "family"] > 0.3 and table.loc["education", "income"] > 0.2 and table.loc["job", "education"] > 0.15
    assert table.loc["gender", "job"] > 0.1 and table.loc["gender", "place"] < 0.1


def test_labels_and_four_grams():
    scale = SCALES["agreement"]
    assert audit.without_label("Strongly agree, I'd say. Yes.", scale) == (", I'd say. Yes.", True)
    assert audit.without_label("Agreement is rare.", scale) == ("Agreement is rare.", False)
    assert audit.without_label("Neither agree nor disagree. Hm.", scale)[0] == ". Hm."
    assert audit.without_label("Yes.", None) == ("Yes.", False)
    assert audit.four_grams("I can’t say so, no.") == {"i can't say so", "can't say so no"}
    assert audit.four_grams("too few words") == set()
    texts = ["Agree. The same four words here.", "The same four words again.", "Nothing of that kind at all.", "Quite other things are said."]
    frame = pd.DataFrame({"reference": texts, "question_id": ["q1", "q1", "q2", "q2"], "options": [list(scale)] * 4})
    overall, within = audit.four_gram_shares(frame, top=1)
    assert overall.iloc[0].to_list() == ["the same four words", 2, 0.5]
    assert within.iloc[0].to_list() == ["q1", "the same four words", 2, 1.0]


def test_text_measures():
    found = text_measures(["The cat sat. The cat sat.", "I love this wonderful day!", "Institutional considerations deteriorated unnecessarily.", ""])
    assert found["words"].to_list() == [6, 5, 4, 0] and found["sentences"].to_list() == [2, 1, 1, 1]
    assert found["type_token_ratio"].iloc[0] == 0.5 and found["words_per_sentence"].iloc[0] == 3
    assert found["reading_ease"].iloc[0] == pytest.approx(206.835 - 1.015 * 3 - 84.6) and found["reading_ease"].iloc[2] < 0
    assert found["tone"].iloc[1] > 0.5 and found["tone"].iloc[3] == 0 and found["tone"].between(-1, 1).all()


def test_closed_items_on_a_toy():
    options = list(SCALES["agreement"])
    frame = pd.DataFrame(
        {
            "question_id": ["q"] * 5 + ["open"], "question_type": ["agreement"] * 5 + ["open"], "options": [options] * 5 + [None],
            "target": [0, 1, 2, 4, np.nan, np.nan], "reference": ["Strongly disagree.", "No way.", "Hm.", "Strongly agree, really.", "Who knows.", "Text."],
        }
    )  # fmt: skip
    item = audit.closed_items(frame).loc["q"]
    assert (item["answers"], item["points"], item["options"]) == (5, 4, 5)
    assert item["low"] == 0.5 and item["high"] == 0.25 and item["minority_side"] == 0.25 and item["label_led"] == 0.4
    assert audit.sides(frame.iloc[:4]).tolist() == [-1, -1, 0, 1]


def test_stance_from_the_card_beats_the_majority_for_unseen_personas(everyone):
    closed = everyone[everyone["question_type"] != "open"].reset_index(drop=True)
    found = audit.classify_stances(closed)
    scores = audit.stance_accuracy(found)
    print(scores.round(3))
    assert len(found) == len(closed) and set(found["classifier"]) <= {-1, 0, 1}
    assert scores.loc["difference", "lo"] > 0.03 and scores.loc["classifier", "lo"] > scores.loc["majority", "hi"]
    assert scores.loc["difference", "mean"] == pytest.approx(scores.loc["classifier", "mean"] - scores.loc["majority", "mean"])
    shuffled = closed.assign(persona=closed["persona"].sample(frac=1, random_state=1).to_list())
    blind = audit.stance_accuracy(audit.classify_stances(shuffled))
    assert blind.loc["difference", "mean"] < 0.02, "cards of other people must not help"
    with pytest.raises(ValueError, match="too few for 5 folds"):
        audit.classify_stances(closed[closed["persona_id"].isin(["p001", "p002"])])


def test_persona_types_are_shares_of_records_and_of_people():
    cards = [{"category": "student"}] * 3 + ["a text without a type"]
    frame = pd.DataFrame({"persona_id": list("aaab"), "persona": cards, "domain": "finance"})
    table = audit.persona_types(frame)
    assert table["% of records"].dropna().to_dict() == {"student": 75, "not stated": 25} and table.loc["student", "% of personas"] == 50
    assert table.index[0] == "student" and np.isnan(table.loc["health", "% of records"])


def test_the_papers_numbers_apply_to_the_whole_embedded_data_set_only(everyone, tmp_path):
    assert all(audit.paper_values(RunConfig(), everyone).values())
    assert not audit.paper_values(RunConfig(), everyone.head(100))["records"] and audit.paper_values(RunConfig(), everyone.head(100))["types"]
    assert not any(audit.paper_values(RunConfig(data=str(tmp_path)), everyone).values())


def test_clusters_find_planted_groups():
    themes = ["nurse clinic patients ward", "farmer tractor barn harvest", "student library exam campus"]
    texts = [f"{theme}; likes {extra}." for theme in themes for extra in ("jazz", "chess", "tea", "maps", "rain", "bread", "kites", "wool") * 2]
    frame, keywords, silhouette = clusters.persona_clusters(texts, clusters=3)
    again, _, _ = clusters.persona_clusters(texts, clusters=3)
    pd.testing.assert_frame_equal(frame, again)
    assert [frame["cluster"].iloc[i * 16 : (i + 1) * 16].nunique() for i in range(3)] == [1, 1, 1]
    assert frame["cluster"].nunique() == 3 and silhouette > 0.3  # the persona cards reach about half of this
    assert {phrases[0] for phrases in keywords.values()} == set(themes)


def test_eight_clusters_of_the_personas(everyone):
    people = audit.people(everyone)
    frame, keywords, silhouette = clusters.persona_clusters(audit.card_texts(people["persona"]))
    sizes = frame["cluster"].value_counts().sort_index()
    assert len(frame) == 433 and list(keywords) == list(range(1, 9)) and sizes.is_monotonic_decreasing and sizes.min() >= 10
    assert all(len(set(phrases)) == 3 for phrases in keywords.values()) and 0 < silhouette < 1
    shown = {phrase for phrases in keywords.values() for phrase in phrases}
    assert "high school diploma" in shown and not any(phrase.isdigit() for phrase in shown)


def test_split_balance(everyone):
    balance = audit.split_balance(everyone)
    assert list(balance.index) == ["domain", "question_type", "category"] and list(balance.columns) == list(dataset.SPLITS)
    assert balance.loc["domain"].max() < 1 and balance.to_numpy().max() < 5
    one_sided = everyone.assign(part=np.where(everyone["domain"] == "finance", "test", "train"))
    assert audit.split_balance(one_sided).loc["domain", "test"] > 80


def test_intervals_are_clustered_by_persona():
    found = pd.DataFrame({"persona_id": np.repeat(list("abcd"), 25), "side": 1, "classifier": np.repeat([1, 1, 1, 0], 25), "majority": 0})
    scores = audit.stance_accuracy(found)
    rows = resampling.bootstrap_mean((found["classifier"] == 1).astype(float))
    assert scores.loc["classifier", "mean"] == 0.75 and scores.loc["classifier", "hi"] - scores.loc["classifier", "lo"] > 2 * (rows["hi"] - rows["lo"])


def test_two_of_five_shares_cannot_be_shares_of_433_people():
    table = audit.possible_shares()
    assert table.index[~table["possible"]].tolist() == ["educator", "technical"] and table.loc["educator", "nearest"] == "13.9, 14.1, 14.3"
    assert table.loc["professional"].tolist() == [17.8, 77, "17.6, 17.8, 18.0", True]


def test_the_leakage_table_has_the_other_configuration_beside_embedded_data_only(everyone):
    leakage = dataset.leakage_report({part: frame for part, frame in everyone.groupby("part")})
    table = audit.leakage_table(RunConfig(split="paper"), leakage)
    assert list(table) == ["paper (this run)", "grouped (published data set)"] and table.loc["test: rows whose persona is in train"].tolist() == [356, 0]
    assert list(audit.leakage_table(RunConfig(data=str(paths.DATASET)), leakage)) == ["paper (this run)"]


def test_only_the_whole_embedded_data_set_has_the_papers_counts(everyone):
    assert audit.is_whole(RunConfig(), everyone)
    assert not audit.is_whole(RunConfig(data=str(paths.DATASET)), everyone) and not audit.is_whole(RunConfig(), everyone.head(200))


def test_foreign_questions_have_no_stance_from_the_card(everyone):
    closed = everyone[everyone["question_type"] != "open"]
    assert audit.stances_from_cards(closed.assign(question_id="theirs"), seed=1).empty and audit.stances_from_cards(closed.head(0), seed=1).empty


def test_the_import_is_reported_line_by_line():
    assert build.import_lines({}) == ["no import: the data were built here"]
    fault = {"rows": 3, "what": "copied rows", "treatment": "kept", "examples": ["train.jsonl:2", "train.jsonl:9"]}
    lines = build.import_lines({"import": {"files": ["a"], "rows_read": 9, "rows_kept": 8, "notes": [], "faults": {"copy": fault}}})
    assert lines[0] == "import report:" and lines[-2:] == ["      3 rows  copy: copied rows (kept)", "             train.jsonl:2"] and "  rows_read: 9" in lines


def test_personahub_is_read_only_if_the_environment_names_a_file(monkeypatch):
    monkeypatch.delenv("POLYPERSONA_PERSONAHUB", raising=False)
    assert build.from_environment(42) == ([], {})
