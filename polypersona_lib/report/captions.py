"""The report's figures: the PNG files of a run with caption and a text for those who do not see them, which says what the picture shows in this run."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from .parts import read_json
from .score_tables import place, system_kind, system_name

FIGURES = (  # pattern of the file's name -> caption, alt text
    (r"fig1|domain_counts", "Fig. 1. Records by domain; the tick is the paper's count.",
     "Bar chart: number of records in each domain, from the most to the fewest, with the paper's count marked on each bar."),
    (r"fig2|question_types", "Fig. 2. Share of each question type; the tick is the paper's share.",
     "Bar chart: share of open, Likert, yes/no and agreement questions, in this order, ours beside the paper's."),
    (r"fig3|lora_diagram", "Fig. 3. Where the LoRA adapters sit.",
     "Diagram: one transformer block with adapters at the four projections of the attention and the three of the feed-forward part; below, inside an adapted "
     "projection, the frozen weight and the trained low-rank pair whose output is added to it."),
    (r"fig4|bleu", "Fig. 4. BLEU of each model with its 95 % interval, beside the paper's value and the controls.",
     "Dot plot: BLEU of the untuned and tuned models with intervals, the paper's values as ticks, baselines and oracles below. The numbers are in Table II."),
    (r"fig5a|reference_lengths", "Fig. 5, the references alone: length of the answers in the data set by domain.",
     "Box plots: characters per reference answer in each domain."),
    (r"fig5|lengths", "Fig. 5. Length of the generated answers by domain, beside the references.",
     "Box plots: characters per answer in each domain, generated and reference answers side by side."),
    (r"fidelity_ladder", "How much of the person is in the answers: each measure from its floor (an answerer without the person, at the dashed line) to its "
     "ceiling (the most that can be known, at the dotted line). Rings: untuned models, discs: tuned models (means with 95 % intervals); dots: each model; "
     "upright ticks: the same respondent asked again.",
     "Dot plot: each measure of persona fidelity, untuned and tuned models between an answerer without the person and the most that can be known."),
    (r"fidelity_attributes", "Which attributes of a person can be read off the answers (AUC; .5 is chance, bold: clearly above it).",
     "Heat map with the numbers written in: how well a probe recovers each attribute of the persona card (rows) from the answers of the respondents, the "
     "oracle and each model (columns); .5 is chance."),
    (r"alignment_by", "Answer distributions by domain, between the uniform answerer and the same respondents asked again.",
     "Dot plot: alignment of each model's answer distributions with the respondents', one line a domain, floor and ceiling as a bar."),
    (r"subgroup", "Differences between groups of people: the models' against the respondents'.",
     "Scatter plots, one a system: gap of each group from everybody else in the system's answers against the true gap, with the diagonal and the slope "
     "through zero, which is written in."),
    (r"ladder", "Floor, model, ceiling: every system on the main metrics.",
     "Dot plots, one panel a metric: baselines, untuned bases, tuned models and oracles with 95 % intervals. The numbers are in Table II and in the table of "
     "the section Controls."),
    (r"training", "Training loss by step and validation loss by epoch.",
     "Line charts: training loss falling over steps; validation loss by epoch with the chosen checkpoint ringed."),
    (r"calibration", "Calibration on the administration: confidence against accuracy (left), share of the answers at each confidence (right).",
     "Line charts: accuracy of the most probable option against its probability, one line a model, with the diagonal; the share of answers in each bin."),
    (r"reuse", "In how many domains a persona appears.",
     "Bar chart: share of personas by number of domains, ours beside the paper's."),
    (r"cluster", "Persona clusters and their keywords.",
     "Left a scatter plot of the persona descriptions, one marker a cluster; right a heat map, one row a cluster with its keywords: the share of each persona "
     "type in it."),
    (r"cramer", "Association between persona attributes (Cramér's V).",
     "Heat map with the numbers written in: strength of association between each pair of persona attributes, 0 to 1. The numbers are in a table under Data."),
    (r"ablation_gains", "What each change of the recipe does to the gain over the untuned base (another study, one twin).",
     "Dot plot with intervals: gain in nats a token of the recipe, of other ranks, without 4 bits, of one epoch and of full fine-tuning. The numbers are in a "
     "table under Data."),
    (r"ablation_left_out", "Gain in a domain that training left out, beside training on all ten (another study, one twin).",
     "Dot plot: one line a domain, gain when trained on the nine others with its interval, and on all ten. The numbers are in a table under Data."),
    (r"ablation_memory", "Where the memory of a training step goes (another study, one twin).",
     "Stacked bars: weights, gradients, optimizer and activations of full fine-tuning, LoRA and QLoRA. The numbers are in a table under Data."),
    (r"consistency_agreement", "The same people asked again: how often the option stays the same (another study).",
     "Dot plots: agreement of each model's options when it is sampled again, at other temperatures, with paraphrases, options in another order and other "
     "questions before; the simulated people asked again as a line. The numbers are in tables under Data."),
    (r"consistency_cards", "What a fuller, sparser or altered persona card is worth (another study).",
     "Dot plot: probability of the true option with each kind of card, tuned and untuned models, oracles as lines. The numbers are in a table under Data."),
)  # fmt: skip


def figures(*folders: Path, texts: Mapping[str, str] | None = None) -> list[dict]:
    """The PNG files of the folders with caption, alt text, width in inches (300 dpi) and base64 data; the paper's figures first.

    In the page they have 256 colours each: charts look the same, and the page is less than half as large.

    Args: texts: stem -> alt text with this run's numbers (`fidelity_text`, `bleu_text`); captions.json in the first folder overrides both.
    """
    from PIL import Image

    captions, found = read_json(folders[0] / "captions.json"), []
    files = {file.stem: file for folder in folders for file in folder.glob("*.png")}
    for file in sorted(files.values(), key=lambda f: (not f.stem.startswith("fig"), f.stem)):
        try:
            picture = Image.open(file, formats=["PNG"]).convert("RGB")
        except (OSError, SyntaxError):  # no picture, or a damaged one
            continue
        (width, height), packed = picture.size, io.BytesIO()
        picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(packed, "PNG", optimize=True)
        caption, alt = figure_texts(file.stem, captions, texts or {})
        size = {"width": width, "height": height, "inches": round(width / 300, 2)}
        found.append({"stem": file.stem, "caption": caption, "alt": alt, **size, "data": base64.b64encode(packed.getvalue()).decode()})
    return found


def figure_texts(stem: str, captions: dict, texts: Mapping[str, str]) -> tuple[str, str]:
    """Caption and alt text of a figure: from `captions` (stem -> {caption, alt}), else by the file's name, else its name in words."""
    given = captions.get(stem, {})
    words = stem.replace("_", " ")
    caption, alt = next(((c, a) for pattern, c, a in FIGURES if re.search(pattern, stem)), (f"{words[:1].upper()}{words[1:]}.", f"Figure: {words}."))
    return str(given.get("caption", caption)), str(given.get("alt", texts.get(stem) or alt))


def fidelity_text(table: dict | None) -> str:
    """What `fidelity_ladder` shows, in words; "" without numbers. `table`: from `score_tables.fidelity_table`."""
    if not table:
        return ""
    each = [f"{r['label']} {r['ways']['tuned']['text']} ({r['ways']['untuned']['text']})" for r in table["rows"]]
    return (f"Dot plot of {len(each)} measures, each from its floor, 0 %, to its ceiling, 100 %. Mean of the tuned models, in brackets of the untuned: "
            f"{'; '.join(each)}. Intervals and levels are in the table below the figure.")  # fmt: skip


def bleu_text(systems: pd.DataFrame) -> str:
    """What `fig4_bleu` shows, in words; "" without scores. `systems`: `scores/systems.csv`."""
    bleu = systems[(systems["metric"] == "bleu") & systems["value"].notna()] if len(systems) else systems
    if bleu.empty:
        return ""
    levels = bleu.set_index("system")["value"]
    spans = []
    for kind, name in (("untuned", "untuned models"), ("tuned", "tuned models"), ("bound", "bounds that know the truth")):
        if len(mine := levels[[system_kind(s) == kind for s in levels.index]]):
            spans.append(f"{name} {mine.min():.3f} ({system_name(mine.idxmin())}) to {mine.max():.3f} ({system_name(mine.idxmax())})")
    floors = [f"{system_name(s)} {levels[s]:.3f}" for s in sorted(levels.index, key=place) if system_kind(s) == "floor"]
    return f"Dot plot of BLEU with intervals and the paper's values as ticks: {'; '.join([*floors, *spans])}. All numbers are in Table II."
