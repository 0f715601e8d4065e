"""Tables: the paper's numbers beside ours, dashes with reasons, and three formats that no text can break."""

import csv
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from polypersona_lib import cells
from polypersona_lib.cells import Estimate, Missing, estimate, md_text, tex_text
from polypersona_lib.config import PROFILES
from polypersona_lib.files import csv_text
from polypersona_lib.registry import MODELS
from polypersona_lib.report import paper_tables
from polypersona_lib.systems import system_label
from polypersona_lib.world.paper import TABLE2
from polypersona_lib.world.questions import DOMAINS

NANO = PROFILES["nano"]
NOTE = "nano twins · paper split · seed 42"
HOSTILE = ["=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", " =1", "\n=cmd|' /C calc'!A0"]


def systems(names):
    return pd.DataFrame([{"system": s, "metric": m, "value": 0.1, "lo": 0.05, "hi": 0.15, "n": 357} for s in names for m in TABLE2.values()])


def rows(names, domains=tuple(DOMAINS)):
    lines = [(s, d, i) for s in names for d in domains for i in range(4)]
    frame = pd.DataFrame(lines, columns=["system", "domain", "place"]).assign(status="ok", rouge1=0.3, quality=0.5)
    return frame.assign(bleu=0.1 + 0.1 * (frame["system"] == "phi-2") + 0.001 * frame["place"])


def test_table1_has_a_source_and_a_remark_for_every_framework():
    table = paper_tables.table1()
    assert list(table["Framework"]) == ["DataDreamer [20]", "SynthIE [23]", "SynDG [24]", "polypersona (this paper)"]
    assert table.iloc[1]["Reproducibility"] == "Partial" and list(table["Bias Mitigation"]) == ["×", "×", "×", "✓"]
    assert (table["Source"] == "paper, Table I").all() and (table["What we could verify"][:3] == "paper's judgement, not re-tested").all()
    assert "no mitigation is described" in table.iloc[3]["What we could verify"]


def test_table2_order_and_reasons():
    table = paper_tables.table2(systems(["phi-2", "tinyllama-1.1b", "tinyllama-1.1b--base", "uniform", "majority", "persona_blind", "nearest_train"]), NANO)
    models = table[table["Row"] != "control"]
    assert list(models["Model"]) == [name for key, m in MODELS.items() for name in (m.display, system_label(key, "nano"))]
    assert list(models["Row"]) == ["paper", "ours"] * 7
    assert table.iloc[0]["BLEU"] == Estimate(0.087) or table.iloc[0]["BLEU"].value == 0.087
    assert str(table.iloc[1]["BLEU"]) == "0.100 [0.050, 0.150]" and table.iloc[1]["n"] == 357
    assert table.iloc[3]["BLEU"].reason == "not part of this run (./run_all.sh nano runs it)"
    assert paper_tables.table2(systems(["phi-2"]), NANO, {"mistral-7b": "its licence"}).iloc[3]["BLEU"].reason == "its licence"
    controls = table[table["Row"] == "control"]
    assert len(controls) == 1 + 4 + 3 and controls.iloc[0]["Model"].endswith(", untuned")
    assert controls.iloc[-1]["BLEU"].reason == paper_tables.OWN_WORLD


def test_table2_without_scores_is_all_paper():
    table = paper_tables.table2(pd.DataFrame(), NANO)
    assert len(table) == 14 + 7 and all(isinstance(c, Missing) for c in table[table["Row"] != "paper"]["BLEU"])


def test_nan_is_a_dash_with_a_reason():
    table = paper_tables.table2(systems(["phi-2"]).assign(value=np.nan), NANO)
    assert isinstance(table.iloc[1]["BLEU"], Missing) and isinstance(estimate(float("inf")), Missing)


def test_table3_has_all_domains_and_marks_the_papers():
    table = paper_tables.table3(rows(["phi-2", "tinyllama-1.1b", "phi-2--base", "oracle_card"]), NANO)
    assert list(table["Domain"]) == [*DOMAINS.values()]
    assert set(table.loc[table["In the paper"] == "no", "Domain"]) == {"Demographics", "Work Experience"}
    assert (table["Top model, ours"] == "twin of Phi-2 (1.7 M) (of 2)").all()
    finance = table[table["Domain"] == "Finance"].iloc[0]
    assert finance["BLEU, paper"].value == 0.142 and finance["BLEU, ours"].value == pytest.approx(0.2015)
    assert finance["BLEU of the paper's top model, ours"].value == pytest.approx(0.1015)


def test_table3_of_foreign_domains_and_of_nothing():
    foreign = paper_tables.table3(rows(["phi-2"], ["politics"]), NANO)
    assert foreign.iloc[-1]["Domain"] == "politics" and isinstance(foreign.iloc[0]["BLEU, ours"], Missing)
    assert len(paper_tables.table3(pd.DataFrame(), NANO)) == 10


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_is_a_formula(text, tmp_path):
    frame = pd.DataFrame({"name": [text], "score": [-0.5]})
    written = cells.write_table(frame, "t", tmp_path, "A caption.", NOTE)[0].read_text()
    (_, (name, score)) = csv.reader(written.splitlines(keepends=True))
    assert name == f"'{text}" and score == "-0.5"
    assert csv_text("well-known = fine") == "well-known = fine"


def test_column_names_cannot_be_formulas(tmp_path):
    assert cells.write_table(pd.DataFrame({"=1": [1]}), "t", tmp_path, "A caption.", NOTE)[0].read_text().startswith("'=1")


def test_three_formats_show_reasons_intervals_and_profile(tmp_path):
    frame = pd.DataFrame({"Model": ["a & b_1 | <i>", "c"], "BLEU": [Estimate(0.1, 0.05, 0.15), Missing("no GPU")], "n": [3, np.nan]}, dtype=object)
    csv_file, md, tex = cells.write_table(frame, "t", tmp_path, "A caption.", NOTE, footnotes=["Intervals: bootstrap."])
    table = pd.read_csv(csv_file, dtype=str)
    assert list(table) == ["Model", "BLEU", "BLEU (lo)", "BLEU (hi)", "n", "why a dash"] and table.iloc[1]["why a dash"] == "no GPU; no value in this run"
    assert not table.isna().to_numpy().any() and table.iloc[0]["BLEU (lo)"] == "0.05"
    text = md.read_text()
    assert NOTE in text and "0.100 \\[0.050, 0.150\\]" in text and "— <sup>a</sup>" in text and "- a: no GPU" in text and "&lt;i&gt;" in text and "\\|" in text
    text = tex.read_text()
    assert r"a \& b\_1 | <i>" in text and r"\toprule" in text and "seed 42" in text and "nan" not in text.lower().replace("nano", "")


def test_same_table_same_bytes(tmp_path):
    frame = paper_tables.table2(systems(["phi-2", "uniform"]), NANO)
    first = [p.read_bytes() for p in cells.write_table(frame, "t", tmp_path / "a", "A caption.", NOTE)]
    assert first == [p.read_bytes() for p in cells.write_table(frame.copy(), "t", tmp_path / "b", "A caption.", NOTE)]


def test_write_table_refuses(tmp_path):
    with pytest.raises(ValueError, match="note"):
        cells.write_table(pd.DataFrame({"a": [1]}), "t", tmp_path, "A caption.", " ")
    with pytest.raises(ValueError, match="no rows"):
        cells.write_table(pd.DataFrame({"a": []}), "t", tmp_path, "A caption.", NOTE)


def test_escapes():
    assert tex_text("50 % of $x_1 & {y} ~ ^ \\") == r"50 \% of \$x\_1 \& \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}"
    assert md_text("a|b\n*c* <script>") == r"a\|b \*c\* &lt;script&gt;"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_compiles(tmp_path):
    tex = cells.write_table(paper_tables.table2(systems(["phi-2"]), NANO), "t", tmp_path, "A caption.", NOTE)[2].read_text()
    page = "\\documentclass[twocolumn]{article}\\usepackage{booktabs,graphicx,amssymb}\\begin{document}" + re.sub(r"^%.*\n", "", tex) + "\\end{document}"
    (tmp_path / "page.tex").write_text(page)
    assert subprocess.run(["pdflatex", "-interaction=batchmode", "-halt-on-error", "page.tex"], cwd=tmp_path, capture_output=True).returncode == 0
