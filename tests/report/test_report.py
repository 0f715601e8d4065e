"""The report: made from a small synthetic run; hostile text stays text, missing parts are said to be missing, nothing is loaded from elsewhere."""

import base64
import hashlib
import json
import re
import shutil
import struct
import zlib
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from polypersona_lib import paths
from polypersona_lib.cells import write_table
from polypersona_lib.claims.evidence import BUILT, BUILT_TO_MATCH, CLOSE, MEASURED, NOT_REPRODUCED, NOTHING, REPRODUCED, UNTESTED, VERDICTS
from polypersona_lib.claims.ledger import judge, write_claims
from polypersona_lib.config import RunConfig
from polypersona_lib.report import brief as report_brief
from polypersona_lib.report import captions, paper_tables, parts, score_tables
from polypersona_lib.report.brief import TOLD_BY, telling, type_table
from polypersona_lib.report.page import write_report
from polypersona_lib.runner import publish
from polypersona_lib.scoring.fidelity_measures import CONTRASTS, LADDER, MEASURES, measure_line, tuning_contrasts, with_levels
from polypersona_lib.systems import is_untuned, untuned, untuned_and_tuned
from polypersona_lib.world import paper
from polypersona_lib.world.questions import DOMAINS

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)> & \"quoted\" {{ 7 * 7 }} </style>"
MODELS = tuple(untuned_and_tuned(("phi-2", "tinyllama-1.1b")))
SYSTEMS = ("uniform", "majority", "persona_blind", "nearest_train", *MODELS, "resample", "oracle_card", "oracle_latent")


def png(width=1050, height=600):
    """A grey PNG of the given size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress((b"\0" + b"\xc8" * width) * height)) + chunk(b"IEND", b"")


def fidelity(scores=None):
    """Made-up lines of every measure of the figure: the floor at 0, untuned models at .2, tuned at .4, the ceiling at .8 (or `scores`: system -> value)."""
    scores = scores or {"majority": 0.0, **{s: 0.2 if is_untuned(s) else 0.4 for s in MODELS}, "resample": 0.8, "oracle_card": 0.8, "truth": 0.8}
    rng, lines = np.random.default_rng(0), []
    for metric, detail, _ in LADDER:
        for system, value in scores.items():
            draws, floor = value + rng.normal(0, 0.01, 200), 0.0 if MEASURES[metric].floor == "shuffled" else np.nan
            lines.append(measure_line(metric, detail, system, {"value": value, "lo": value - 0.02, "hi": value + 0.02, "draws": draws}, 100, floor))
    return lines


def test_what_left_a_systems_numbers_stands_beside_its_name():
    scores = pd.DataFrame([("uniform", "bleu", 0.1, 2, 3), ("phi-2", "bleu", 0.2, 0, 0)], columns=["system", "metric", "value", "n_failed", "n_cut"])
    remarks = {row["name"]: row["remark"] for row in score_tables.score_table(scores.assign(lo=0.0, hi=0.3, n=5), ("bleu",), "nano")["rows"]}
    assert sorted(remarks.values()) == ["baseline, 2 failed, 3 too long for the encoder", "tuned"]


def write_run(run, answer=HOSTILE):
    """All files of a finished run, small and made up."""
    results, note = run.paths.results, "nano twins · paper split · seed 42"
    metrics = [*paper.TABLE2.values(), "stance_acc", "swap_gap_rouge1_masked", "distinct2"]
    lines = [(s, m, 0.1 + 0.02 * i + 0.01 * j, i % 2) for i, s in enumerate(SYSTEMS) for j, m in enumerate(metrics)]
    systems = pd.DataFrame(lines, columns=["system", "metric", "value", "n_failed"]).assign(n=357)
    systems = systems.assign(lo=systems["value"] - 0.02, hi=systems["value"] + 0.02)
    rows = pd.DataFrame([(s, d) for s in ("phi-2", "tinyllama-1.1b") for d in DOMAINS], columns=["system", "domain"])
    rows = rows.assign(status="ok", bleu=0.1, rouge1=0.3, quality=0.5)
    systems.to_csv(run.paths.folder("scores") / "systems.csv", index=False)
    systems.to_csv(run.paths.folder("scores") / "systems_unseen_pairs.csv", index=False)
    lines = [("phi-2", "failed", "problem", HOSTILE, 0.5, 16, "format_valid"), ("uniform", "chance", "note", "'=1+1 is no formula", 0.3, 9, "stance_acc")]
    found = pd.DataFrame(lines, columns=["system", "id", "severity", "text", "value", "n", "metric"])
    found.to_csv(run.paths.folder("scores") / "findings.csv", index=False)
    administration = systems[systems["metric"] == "stance_acc"].drop(columns="n_failed")
    administration.to_csv(run.paths.folder("scores") / "administration.csv", index=False)
    pd.concat([administration.assign(domain=d) for d in DOMAINS]).to_csv(run.paths.folder("scores") / "domain_accuracy.csv", index=False)
    made = {
        "table1_features": paper_tables.table1(),
        "table2_overall": paper_tables.table2(systems, run.settings),
        "table3_domains": paper_tables.table3(rows, run.settings),
    }
    for stem, frame in {**made, "data_counts": pd.DataFrame({"what": ["=evil"], "n": [1]})}.items():
        write_table(frame, stem, run.paths.folder("tables"), f"Caption of {stem}.", note)
    write_claims(judge(paper.load_claims(), {"source": "embedded", "records": 3568}, systems, run.settings), results / "claims.csv")
    for key, name in (("phi-2", "Phi-2"), ("tinyllama-1.1b", "PolyPersona (TinyLlama 1.1B)")):
        record = {
            "model": key, "display": name, "hub_id": f"hub/{key}", "revision": "abcdef0123456789", "adapter_hash": "0" * 64, "template_hash": "1" * 64,
            "best_epoch": 2, "train_spec": {"learning_rate": 0.001, "r": 16}, "versions": {"torch": "2.13.0"}, "device": "CPU, 2 threads", "git": "a1b2c3d4",
            "train_time_s": 120.5, "tokens": 123456, "tokens_per_s": 6000, "peak_memory_mb": 1234, "trainable": 300000, "total": 1500000, "share": 0.2,
        }  # fmt: skip
        (run.paths.folder("runs") / f"{key}--nano--seed42.json").write_text(json.dumps(record))
    with_levels(fidelity()).to_csv(run.paths.folder("scores") / "fidelity.csv", index=False)
    tuning_contrasts(fidelity(), ("phi-2", "tinyllama-1.1b")).to_csv(run.paths.folder("scores") / "fidelity_contrasts.csv", index=False)
    (run.paths.folder("tables") / "data_clusters.csv").write_text("x,y,category\n0.123456,0.5,raw coordinates\n")
    report_json = {"source": "embedded", "rows": {"train": 2854, "validation": 357, "test": 357}, "data_hash": "feed" * 4, "faults_mode": "neutralise",
                   "leakage": {"duplicate ids": 0}, "import": {"faults": {HOSTILE: 3, "rows": list(range(60))}, "aliases": []}}  # fmt: skip
    (run.paths.folder("dataset") / "report.json").write_text(json.dumps(report_json))
    kinds = ["open", "likert", "yesno", "agreement"]
    for system in SYSTEMS:
        lines = [
            {"id": f"r{i}", "prediction": answer if i % 3 else "", "reference": f"Reference\u2028 {i}", "persona": HOSTILE, "domain": "finance",
             "question": "Why & how?", "question_type": kinds[i % 4], "options": ["No <i>", "Yes"] if i % 4 else None, "status": "ok" if i % 3 else "failed"}
            for i in range(16)
        ]  # fmt: skip
        (run.paths.folder("preds") / f"{system}.jsonl").write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n", encoding="utf-8")
    run.paths.figure("fig1_domain_counts").with_suffix(".png").write_bytes(png())
    run.paths.figure("fidelity_ladder").with_suffix(".png").write_bytes(png(2148, 900))
    run.paths.figure("fig3_lora_diagram").with_suffix(".png").write_bytes(png(2148, 900))
    run.paths.figure("broken").with_suffix(".png").write_bytes(b"no image")
    manifest = {"run": run.name, "stages": {"03": {"status": "done", "wall_time_s": 300.2, "peak_memory_mb": 1500.0}, "90": {"status": "running"}}}
    (results / "manifest.json").write_text(json.dumps(manifest))


class Page(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    run = RunConfig(out=str(tmp_path_factory.mktemp("out")))
    write_run(run)
    path = write_report(run)
    assert path == run.paths.results / "report.html"
    return path.read_text(encoding="utf-8")


def test_hostile_text_stays_text(page):
    found = Page(page)
    assert len(found.all("script")) == 1 and not any("onerror" in attrs for _, attrs in found.tags)
    assert all(attrs["src"].startswith("data:image/png;base64,") for attrs in found.all("img"))
    assert "alert('x')" in "".join(found.words) and "<script>alert" not in page and "{{ 7 * 7 }}" in page


def test_it_loads_nothing_and_the_policy_knows_its_script(page):
    found = Page(page)
    assert not [a for tag in ("link", "iframe", "object", "embed") for a in found.all(tag)] and "url(" not in page and "@import" not in page
    policy = next(a["content"] for a in found.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    script = re.search(r"<script>(.*?)</script>", page, re.S).group(1)
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy and policy.startswith("default-src 'none'")


def test_sections_links_and_headings(page):
    found = Page(page)
    ids = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for a in found.all("a") if a["href"].startswith("#")}
    assert targets <= set(ids), targets - set(ids)
    assert {"metric-bleu", "metric-quality", "metric-stance_acc"} <= targets
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))


def test_accessible(page):
    found = Page(page)
    assert found.all("html")[0]["lang"] == "en" and found.all("title") == [{}]
    assert all(attrs.get("scope") for attrs in found.all("th")) and len(found.all("caption")) == len(found.all("table"))
    assert all(len(attrs["alt"]) > 20 for attrs in found.all("img")) and len(found.all("figure")) == 3
    assert any(a.get("for") == "claims-search" for a in found.all("label"))


def test_content(page):
    text = " ".join("".join(Page(page).words).split())
    expected = [
        "A nano twin says nothing about the real model", "Not a replacement for people", "clip 1.0 instead of 0.3", "torch 2.13.0", "a1b2c3d4", "feed" * 4,
        "Caption of table2_overall. (nano twins", "0.087", "Caption of data_counts.", "and 20 more", "persona-question pair is not in train",
        "1,234", "300.2", "the sum of the times",
        "not quantified", "built to match", "Findings by system: the models", "Findings by system: baselines and upper bounds",
        "problem: <script>alert", "note: =1+1 is no formula",
    ]  # fmt: skip
    for words in (*expected, *VERDICTS):
        assert words in text, words
    rows = [a for a in Page(page).all("tr") if "data-verdict" in a]
    assert len(rows) == len(paper.load_claims())
    assert "nan" not in set(re.findall(r"[a-z]+", text)) and "None" not in re.findall(r"\w+", text)


def test_a_run_without_anything_still_has_a_report(tmp_path):
    text = write_report(RunConfig(out=str(tmp_path))).read_text()
    words = "".join(Page(text).words)
    gaps = [
        "no claims.csv yet",
        "no Table II yet",
        "no scores/systems.csv yet",
        "Not part of this run",
        "No figure was found",
        "no predictions yet",
        "no scores/findings.csv",
    ]
    for gap in (*gaps, "No training record"):
        assert gap in words, gap


@pytest.mark.parametrize("gone", ["claims.csv", "scores", "tables", "preds", "runs", "dataset", "manifest.json"])
def test_each_part_is_optional(tmp_path, gone):
    run = RunConfig(out=str(tmp_path))
    write_run(run)
    target = run.paths.results / gone
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    assert "<h2" in write_report(run).read_text()


def test_same_files_same_page(tmp_path):
    run = RunConfig(out=str(tmp_path))
    write_run(run)
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_the_published_report_is_there_and_pictures_make_no_large_page():
    """README sends readers to it; `publish` leaves out what is larger than 4 MB."""
    shipped = paths.ROOT / "results" / "shipped"
    text = (shipped / "report.html").read_text(encoding="utf-8")
    assert len(text) < publish.MOST_BYTES / 2 and "PolyPersona, rebuilt: run" in text
    drawn = captions.figures(paths.ROOT / "figures" / "shipped", spoken={})
    assert len(drawn) > 15 and sum(len(f["data"]) for f in drawn) < publish.MOST_BYTES / 2


def test_the_ablations_stand_in_the_report_if_they_were_run_and_are_never_beside_foreign_data(tmp_path):
    run, study = RunConfig(out=str(tmp_path)), paths.run_paths("ablations", str(tmp_path))
    write_run(run)
    assert "ablation_gains" not in write_report(run).read_text()
    study.folder("tables")
    shutil.copy(next(run.paths.figures.glob("*.png")), study.figure("ablation_gains").with_suffix(".png"))
    write_table(pd.DataFrame({"arm": ["rank 4"], "gain": [0.1]}), "ablation_gains", study.results / "tables", "Gain of each arm.", "one twin")
    text = write_report(run).read_text()
    assert "<code>ablation_gains</code>" in text and "Gain of each arm. (one twin)" in text
    foreign = RunConfig(data=str(tmp_path), out=str(tmp_path))
    write_run(foreign)
    assert "ablation_gains" not in write_report(foreign).read_text()


def test_captions_of_figures_can_be_given(tmp_path):
    run = RunConfig(out=str(tmp_path))
    write_run(run)
    (run.paths.figures / "captions.json").write_text(json.dumps({"fig1_domain_counts": {"caption": "Mine <b>", "alt": "A grey rectangle, nothing more."}}))
    text = write_report(run).read_text()
    assert "Mine &lt;b&gt;" in text and "A grey rectangle, nothing more." in text


def test_foreign_data_are_named(tmp_path):
    data = tmp_path / "their data"
    data.mkdir()
    text = write_report(RunConfig(out=str(tmp_path), data=str(data))).read_text()
    assert "Foreign data: their data" in text


def test_the_brief_says_what_the_scores_say():
    def score(system, metric, value, lo=None, hi=None):
        return {"system": system, "metric": metric, "value": value, "lo": value if lo is None else lo, "hi": value if hi is None else hi}

    systems = pd.DataFrame(
        [score("phi-2", "rouge1", 0.30), score("mistral-7b", "rouge1", 0.10), score("persona_blind", "rouge1", 0.2)]
        + [score("phi-2", TOLD_BY, 0.02, 0.01, 0.03), score("mistral-7b", TOLD_BY, 0.01, -0.01, 0.03)]
    )
    known = {"phi-2": 0.4, "mistral-7b": 0.5, "majority": 0.35, "oracle_card": 0.6}
    sheets = pd.DataFrame([score(s, "stance_acc", v) for s, v in known.items()])
    blind, few = "nothing shows that answers depend on the persona", "two people get the same answer in 40 % of the pairs"
    lines = [(untuned("phi-2"), "problem", "persona_blind", f"{blind}: +0.1"), ("mistral-7b", "problem", "persona_blind", f"{blind}: +0.2"),
             ("phi-2", "note", "alike", few), ("mistral-7b", "note", "alike", few.replace("40", "50")),
             ("uniform", "problem", "failed", "a floor")]  # fmt: skip
    findings = pd.DataFrame(lines, columns=["system", "severity", "id", "text"])
    claimed = [
        ("fact", BUILT_TO_MATCH, BUILT),
        ("order", REPRODUCED, MEASURED),
        ("order", NOT_REPRODUCED, MEASURED),
        ("shape", CLOSE, MEASURED),
        ("order", UNTESTED, NOTHING),
    ]
    ledger = [dict(zip(("kind", "verdict", "basis"), claim, strict=True)) for claim in claimed]
    changed = {"contrast": CONTRASTS[2], "metric": "stance_acc", "model": ["phi-2", "mistral-7b"], "toward": [True, False], "p_holm": [0.2, 0.01]}
    scores = {"systems": systems, "administration": sheets, "findings": findings, "fidelity_contrasts": pd.DataFrame(changed)}
    found = " ".join(b["text"] for b in report_brief.brief(scores, ledger, ("phi-2", "mistral-7b"), "nano"))
    expected = [
        "Claims: 5. Reproduced: 1 by measurement. Not reproduced: 1. A baseline does the same: 0. Too close to call: 1. Built to match: 1. Our data",
        "What it chooses: of 2 comparisons (1 measures x 2 models) tuning clearly helped in 0 and hurt in 1",
        "ROUGE-1 0.200. The tuned models score 0.100 to 0.300; 1 of 2 score higher",
        "for 1 of 2 tuned models; it is 0.010 to 0.020", "in 0.400 to 0.500 of the cases. The majority answer does in 0.350",
        f"are used: {blind}: 1 of 2 untuned, 1 of 2 tuned, namely twin of Mistral 7B (1.7 M).",
        "Worth knowing: two people get the same answer in many of the pairs: none of 2 untuned, all 2 tuned.",
    ]  # fmt: skip
    for words in expected:
        assert words in found, words
    empty = dict.fromkeys(scores, pd.DataFrame())
    assert report_brief.brief(empty, [], ("phi-2",), "nano") == []
    clean = report_brief.brief(empty | {"findings": findings[findings["system"] == "uniform"]}, [], ("phi-2",), "nano")
    assert len(clean) == 1 and clean[0]["text"].startswith("No problem was found")


def test_the_opening_says_claim_result_and_gap():
    """Small against large stands there with what it would take; at paper scale with its verdict."""

    def claim(test, verdict, ours="x", value="all", metric="bleu"):
        return {"test": test, "verdict": verdict, "ours": ours, "value": value, "metric": metric}

    ledger = [
        claim("traits_kept", NOT_REPRODUCED, "above zero: 2 of 7"),
        claim("traits_kept", CLOSE, "open ones", "open"),
        claim("rank", CLOSE),
        claim("rank", NOT_REPRODUCED),
    ]
    told = dict(report_brief.opening([*ledger, claim("on_par", UNTESTED), claim("score", UNTESTED)], "nano"))
    assert list(told) == ["The paper claims", "Here", "Not tested"] and "as well as large ones" in told["The paper claims"]
    here = "Traits kept: not reproduced, above zero: 2 of 7. 2 places among the seven models: reproduced 0, not reproduced 1, too close to call 1 ("
    assert told["Here"].startswith(here) and "open ones" not in told["Here"]
    assert "small models equal large ones (1 claims): all twins have one size" in told["Not tested"] and "persona-blind answer" in told["Not tested"]
    judged = dict(report_brief.opening([*ledger, claim("on_par", REPRODUCED, "-1.0 %")], "paper"))
    assert "Small against large: reproduced, -1.0 %" in judged["Here"] and judged["Not tested"] == "Nothing of this."
    assert report_brief.opening([], "nano") == []


def test_the_first_screen_needs_no_readme(page):
    """Before the first heading of a section stand what the paper does, what this page is, and what the models of the run are."""
    start = " ".join("".join(Page(page.split("<h2")[0].split("</style>")[1]).words).split())
    for words in ("trains small chat models to answer survey questions as a given person", "Its data are not public", "1.3 to 1.8 million parameters"):
        assert words in start, words
    brief = page.split('<h2 id="brief">')[1].split("</section>")[0]
    assert (
        'href="#claims" data-verdict="not-reproduced"' in brief
        and "What of the paper holds here?" in brief
        and "<dt>The paper claims</dt>" in brief
        and 'href="#definitions"' in brief
    )
    words = " ".join("".join(Page(page.split('<h2 id="definitions">')[1]).words).split())
    assert all(term in words for term in ("Nano twin", "Baseline", "Upper bound", "Swap gap", "Built to match", "95 % interval"))


def test_the_lead_figure_has_its_numbers_below_and_in_its_text(page):
    alt = next(a["alt"] for a in Page(page).all("img") if "10 measures" in a["alt"])
    assert "chooses the respondent's option 50 % (25 %)" in alt and "tuned" in alt
    table = page.split('<details id="fidelity">')[1].split("</details>")[0]
    assert table.count("<tr>") == 1 + len(LADDER) and all(f'href="#metric-{metric}"' in table for metric, _, _ in LADDER)
    cells = re.findall(r'<td class="n">([^<]*)', table)[:8]
    assert cells[:6] == ["0.000", "0.200", "0.400", "0.800", "25 %", "50 %"] and cells[6:] == ["2 of 2", "0 of 2"]


def test_a_measure_that_cannot_tell_its_ends_apart_has_no_way():
    lines = fidelity({"majority": 0.0, **dict.fromkeys(MODELS, 0.0), "resample": 0.01, "oracle_card": 0.01, "truth": 0.01})
    keys = ("phi-2", "tinyllama-1.1b")
    table = score_tables.fidelity_table(with_levels(lines), tuning_contrasts(lines, keys), keys)
    assert {r["ways"]["tuned"]["text"] for r in table["rows"]} == {"—"} and score_tables.fidelity_table(pd.DataFrame(), pd.DataFrame(), keys) is None


def test_every_picture_is_described_as_what_it_is():
    texts = {stem: captions.figure_texts(stem, {}, {}) for stem in sorted(p.stem for p in (paths.ROOT / "figures" / "shipped").glob("*.png"))}
    assert len(texts) > 15 and not [stem for stem, (_, alt) in texts.items() if alt.startswith("Figure: ")], "each has a text of its own"
    assert "generated" not in texts["fig5a_reference_lengths"][0] and "Generated" not in texts["fig5a_reference_lengths"][0]
    assert texts["fidelity_attributes"][1].startswith("Dot plot") and "heat map" in texts["persona_clusters"][1]
    scores = pd.DataFrame({"system": ["persona_blind", "phi-2", "mistral-7b"], "metric": "bleu", "value": [0.3, 0.1, 0.2]})
    assert "persona-blind copy 0.300; tuned models 0.100 (twin of Phi-2 (1.7 M)) to 0.200" in captions.bleu_text(scores, "nano")
    assert captions.bleu_text(pd.DataFrame(), "nano") == captions.fidelity_text(None) == ""


def test_tables_show_each_number_once_and_no_raw_data(page):
    assert "untuned untuned" not in " ".join("".join(Page(page).words).split()) and "raw coordinates" not in page
    shown = {m for m in score_tables.CONTROL_METRICS if m in paper.TABLE2.values()}
    assert shown == {"rouge1"}, "the paper's scores of every control stand in Table II"


def test_costs_name_what_was_made(tmp_path):
    stages_ = {"04": {"status": "done", "wall_time_s": 10.0, "peak_memory_mb": 900.0}, "05": {"status": "done", "wall_time_s": 5.5, "peak_memory_mb": 300.0}}
    (tmp_path / "manifest.json").write_text(json.dumps({"stages": stages_ | {"12": {"status": "done"}}}))
    found = parts.stages(tmp_path / "manifest.json", [("Table II", "04"), ("Fig. 4", "04"), ("Table III", "05")])
    assert [s["stage"] for s in found] == ["04", "05", "12", "all"] and found[0]["makes"].startswith("Table II, Fig. 4, ") and found[2]["makes"] == "—"
    assert (found[-1]["time"], found[-1]["memory"]) == ("15.5", "900") and parts.stages(tmp_path / "none") == []


def test_samples_begin_with_the_best_the_median_and_the_worst_answer(tmp_path):
    rows = pd.DataFrame({"system": "phi-2", "id": [f"r{i}" for i in range(5)], "status": "ok", TOLD_BY: [0.1, -0.2, 0.3, 0.0, None]})
    found = telling(rows, ("phi-2", "tinyllama-1.1b"), "nano")
    assert [i for i, _ in found] == ["r2", "r3", "r1"] and found[0][1].startswith("twin of Phi-2 (1.7 M), best answer by") and "-0.200" in found[2][1]
    assert telling(pd.DataFrame(), ("phi-2",), "nano") == []
    lines = [{"id": f"r{i}", "question_type": "open", "prediction": "x", "status": "ok", "reference": "y"} for i in range(5)]
    (tmp_path / "phi-2.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    assert [s["id"] for s in parts.sample_answers(tmp_path, ("phi-2",), found, "nano")] == ["r2", "r3", "r1"]
    assert [s["id"] for s in parts.sample_answers(tmp_path, ("phi-2",), [], "nano")] == ["r2"]


def test_samples_show_the_model_they_tell_about_and_the_others_apart(tmp_path):
    row = {"id": "r", "question_type": "yesno", "options": ["No", "Yes"], "status": "ok", "reference": "y"}
    for system in (*untuned_and_tuned(("phi-2", "mistral-7b")), "persona_blind"):
        (tmp_path / f"{system}.jsonl").write_text(json.dumps(row | {"prediction": f"of {system}"}))
    (found,) = parts.sample_answers(tmp_path, ("phi-2", "mistral-7b"), [("r", "why")], "nano")
    assert [a["text"] for a in found["answers"]] == ["of mistral-7b", f"of {untuned('mistral-7b')}", "of persona_blind"]
    assert [a["text"] for a in found["others"]] == ["of phi-2", f"of {untuned('phi-2')}"] and (found["question_type"], found["options"]) == (
        "yes/no",
        "No / Yes",
    )


def test_scores_by_question_type():
    rows = pd.DataFrame(
        {"system": "phi-2", "question_type": ["open", "open", "likert"], "status": ["ok", "ok", "ok"], "rouge1": [0.2, 0.4, 1.0], "quality": 0.5}
    )
    table = type_table(pd.concat([rows, rows.assign(status="failed", rouge1=0.0)]), "nano")
    assert [c["text"] for c in table["rows"][0]["cells"]] == ["1.000", "0.300", "0.500", "0.500"]
    assert type_table(pd.DataFrame(), "nano") is None


def test_intervals_by_question_type_resample_people():
    """Every row twice is no new person: the interval stays."""
    rng = np.random.default_rng(1)
    rows = pd.DataFrame({"system": "phi-2", "question_type": "open", "status": "ok", "rouge1": rng.random(60), "quality": 0.5})
    people = rows.assign(persona_id=[f"p{n // 2}" for n in range(60)])
    once, twice, as_rows = (type_table(table, "nano")["rows"][0]["cells"][0] for table in (people, pd.concat([people, people]), pd.concat([rows, rows])))
    assert once == twice != as_rows
