"""The report's figures: the PNG files of a run with caption and a text for those who do not see them, which says what the picture shows in this run."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ..files import read_json
from ..systems import system_kind, system_label, system_order
from .score_tables import texts


def figures(*folders: Path, spoken: Mapping[str, str]) -> list[dict]:
    """The PNG files of the folders with caption, alt text, width in inches (300 dpi) and base64 data; the paper's figures first.

    In the page they have 256 colours each: charts look the same, and the page is less than half as large.

    Args: spoken: stem -> alt text with this run's numbers (`fidelity_text`, `bleu_text`); captions.json in the first folder overrides both.
    """
    from PIL import Image

    captions, drawn = read_json(folders[0] / "captions.json"), []
    files = {file.stem: file for folder in folders for file in folder.glob("*.png")}
    for file in sorted(files.values(), key=lambda f: (not f.stem.startswith("fig"), f.stem)):
        try:
            picture = Image.open(file, formats=["PNG"]).convert("RGB")
        except (OSError, SyntaxError):  # no picture, or a damaged one
            continue
        (width, height), packed = picture.size, io.BytesIO()
        picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(packed, "PNG", optimize=True)
        caption, alt = figure_texts(file.stem, captions, spoken)
        size = {"width": width, "height": height, "inches": round(width / 300, 2)}
        drawn.append({"stem": file.stem, "caption": caption, "alt": alt, **size, "data": base64.b64encode(packed.getvalue()).decode()})
    return drawn


def figure_texts(stem: str, captions: dict, spoken: Mapping[str, str]) -> tuple[str, str]:
    """Caption and alt text of a figure: from `captions` (stem -> {caption, alt}), else from texts.toml, else the file's name in words."""
    words = stem.replace("_", " ")
    known = {"caption": f"{words[:1].upper()}{words[1:]}.", "alt": f"Figure: {words}."} | texts()["figure"].get(stem, {})
    known |= {"alt": spoken[stem]} if spoken.get(stem) else {}
    known |= captions.get(stem, {})
    return str(known["caption"]), str(known["alt"])


def fidelity_text(table: dict | None) -> str:
    """What `fidelity_ladder` shows, in words; "" without numbers. `table`: from `score_tables.fidelity_table`."""
    if not table:
        return ""
    each = [f"{r['label']} {r['ways']['tuned']['text']} ({r['ways']['untuned']['text']})" for r in table["rows"]]
    return (f"Dot plot of {len(each)} measures, each from its baseline, 0 %, to its upper bound, 100 %. Mean of the tuned models, in brackets of the untuned: "
            f"{'; '.join(each)}. Intervals and levels are in the table below the figure.")  # fmt: skip


def bleu_text(systems: pd.DataFrame, scale: str) -> str:
    """What `fig4_bleu` shows, in words; "" without scores. `systems`: `scores/systems.csv`."""
    bleu = systems[(systems["metric"] == "bleu") & systems["value"].notna()] if len(systems) else systems
    if bleu.empty:
        return ""
    levels = bleu.set_index("system")["value"]
    kinds = pd.Series({system: system_kind(system) for system in levels.index})
    baselines = [f"{system_label(s, scale)} {levels[s]:.3f}" for s in sorted(kinds.index[kinds == "baseline"], key=system_order)]
    spans = []
    for shown, name in ((["untuned"], "untuned models"), (["tuned"], "tuned models"), (["retest", "oracle"], "upper bounds that know the truth")):
        if len(mine := levels[kinds.isin(shown)]):
            low, high = (f"{mine[s]:.3f} ({system_label(s, scale)})" for s in (mine.idxmin(), mine.idxmax()))
            spans.append(f"{name} {low} to {high}")
    return f"Dot plot of BLEU with intervals and the paper's values as ticks: {'; '.join([*baselines, *spans])}. All numbers are in Table II."
