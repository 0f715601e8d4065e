"""What is inside a trained adapter: the update ΔW = scale · B · A of every adapted matrix and its singular values, read from the file alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd


def singular_values(folder: Path) -> pd.DataFrame:
    """The r singular values of every adapted matrix's update, largest first.

    They come from the two thin factors alone: with B = Q R and Aᵀ = P S the singular values of B A are those of the small matrix R Sᵀ (r x r), so no
    full-size ΔW is ever built.

    Args: folder: an adapter in PEFT's layout.
    Returns: columns place (the layer's full name), module (its last part, as in the LoRA targets), direction (1 to r), value, share (of the squared
        values, up to and with this direction; 1 at the last; NaN for an update that is zero).
    Raises: FileNotFoundError if there is no adapter.
    Source: paper, section IV-C (ΔW = B A, scaled by alpha / r).
    """
    from safetensors.torch import load_file

    weights = load_file(folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    scale, frames = config["lora_alpha"] / config["r"], []
    for name in sorted(n for n in weights if n.endswith("lora_A.weight")):
        a, b = (weights[n].double().numpy() for n in (name, name.replace("lora_A", "lora_B")))
        found = scale * np.linalg.svd(np.linalg.qr(b, mode="r") @ np.linalg.qr(a.T, mode="r").T, compute_uv=False)
        squares, place = np.square(found), name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        share = np.cumsum(squares) / squares.sum() if squares.any() else np.full(len(squares), np.nan)
        frames.append(pd.DataFrame({"place": place, "module": place.rsplit(".", 1)[-1], "direction": range(1, len(found) + 1), "value": found, "share": share}))
    return pd.concat(frames, ignore_index=True)


def directions_needed(values: pd.DataFrame, share: float = 0.9) -> pd.Series:
    """How many directions of each place's update hold at least `share` of it (0-1), by place; NaN for an update that is zero."""
    enough = values[values["share"] >= share - 1e-12].groupby("place")["direction"].min()
    return enough.reindex(values["place"].unique())
