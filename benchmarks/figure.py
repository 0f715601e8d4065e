"""The figure of a result file: how many times faster ours is than each contender, goals marked; what missed a goal is told in words, readings too."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .rows import ROWS

SHORT = {  # rows as the figure calls them
    "step_smollm2": "QLoRA step, SmolLM2", "step_twin": "QLoRA step, nano twin", "lora_layer": "LoRA layers", "answers_smollm2": "Answers, SmolLM2",
    "answers_twin": "Answers, nano twin", "options_twin": "Option probabilities, nano twin", "options_smollm2": "Option probabilities, SmolLM2",
    "bertscore": "BERTScore", "rouge_bleu": "ROUGE and BLEU", "bootstrap": "Paired bootstrap", "swap": "Swap control", "pipeline": "Smoke run, cold",
    "reading": "Strict reading",
}  # fmt: skip


def bars(results: dict) -> list[dict]:
    """One entry a bar: row, contender, ratio (None without one), goal. Left out: other ways of ours, and rows with nothing beside ours."""
    lines = []
    for row in results["rows"]:
        name = SHORT.get(row["name"], ROWS.get(row["name"], row["name"]))
        if not row["passed"]:
            lines.append({"row": name, "contender": "not measured", "ratio": None, "goal": None})
        listed = [{"row": name, "contender": c["name"], "ratio": c["ratio"], "goal": c["goal"]} for c in row["contenders"] if c["ratio"] is not None]
        lines += [line for line in listed if not line["contender"].startswith("ours")]
    return lines


def title(results: dict) -> str:
    """What to see: how many goals are met, and every one of a number without a bar that is missed."""
    lines = [line for line in bars(results) if line["ratio"] is not None]
    goals = [line["ratio"] >= line["goal"] for line in lines if line["goal"] is not None]
    readings = [(SHORT.get(row["name"], row["name"]), reading) for row in results["rows"] for reading in row["readings"] if reading["met"] is False]
    faster = f"Ours is faster than {sum(line['ratio'] > 1 for line in lines)} of {len(lines)} other ways to do the same work"
    met = f"; {sum(goals)} of {len(goals)} goals are met" if goals else ""
    return faster + met + "".join(f"; missed too: {name}, {r['what']} {r['value']:.3g} (goal {r['limit']:g})" for name, r in readings) + "."


def note(results: dict) -> str:
    """Where and how the rows were measured: processors, threads, repeats and states of the code, several if rows came from several calls."""
    rows = [row for row in results["rows"] if row["contenders"]]
    machines = [row.get("environment", results["environment"]) for row in rows]
    where = dict.fromkeys(f"{machine['processor']}, {machine['threads']} threads" for machine in machines)
    repeats = sorted({row.get("repeats", results["repeats"]) for row in rows})
    code = dict.fromkeys(machine["code"] for machine in machines)
    return f"{' and '.join(where)} · {results['size']} size · median of {' or '.join(map(str, repeats))} · {', '.join(code)}"


def plot_ratios(results: dict):
    """Draw the ratios of a result file on a logarithmic axis. Returns (figure, axes). Raises ValueError if there is none."""
    import matplotlib.pyplot as plt

    from polypersona_lib.figures import style

    lines = bars(results)
    if not any(line["ratio"] for line in lines):
        raise ValueError("the file has no ratios to draw; run: python -m benchmarks all --json FILE")
    with style.style():
        fig, ax = plt.subplots(figsize=(style.PAGE, 0.9 + 0.19 * len(lines)))
        for place, line in enumerate(lines):
            if line["ratio"] is None:
                ax.annotate("no ratio: the results differ or the row did not run", (1.02, place), va="center", fontsize=6.5, color=style.GREY)
                continue
            missed = line["goal"] is not None and line["ratio"] < line["goal"]
            look = {"color": style.REFERENCE, "hatch": "////"} if missed else {"color": style.OURS}
            ax.barh(place, line["ratio"] - 1, left=1, height=0.66, zorder=2, **look)
            end = max(line["ratio"], line["goal"] or 1, 1) if missed else max(line["ratio"], 1)
            ax.annotate(f"{line['ratio']:.1f}", (end, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=6.5)
            if line["goal"] is not None:
                ax.plot(line["goal"], place, **style.PAPER | {"markersize": 8}, zorder=4)
        style.name_rows(ax, [f"{line['row']}: {line['contender']}" for line in lines])
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:g}")
        ax.axvline(1, color=style.INK, linewidth=0.8)
        ratios = [value for line in lines for value in (line["ratio"], line["goal"]) if value]
        ax.set_xlim(min(0.8, *(0.8 * value for value in ratios)), 1.4 * max(ratios))
        ax.set_xlabel("Median time of the other / ours, log scale\n(black tick: goal; grey, hatched: missed)")
        return style.finish(fig, note(results), title=title(results)), ax


def main(argv: list[str]) -> int:
    """`figure FILE --out FOLDER/NAME`: exit status 0, or 2 if the file cannot be used."""
    from polypersona_lib.figures import style

    parser = argparse.ArgumentParser(prog="python -m benchmarks figure", description="Draw a result file as PNG and PDF.")
    parser.add_argument("file", metavar="FILE", help="what --json wrote")
    parser.add_argument("--out", default="figures/benchmarks", metavar="FOLDER/NAME", help="path without an ending (default %(default)s)")
    options = parser.parse_args(argv)
    try:
        fig, _ = plot_ratios(json.loads(Path(options.file).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{options.file}: cannot be drawn ({type(error).__name__}: {error})", file=sys.stderr)
        return 2
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    for path in style.save(fig, options.out):
        print(path)
    return 0
