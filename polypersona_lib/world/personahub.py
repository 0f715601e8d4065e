"""Personas from PersonaHub texts: a structured card is drawn that fits what the text says."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

from .personas import draw_persona, impossible, pick, population, read_description


def from_personahub(path: str | Path, seed: int) -> tuple[list[dict], dict]:
    """Build cards on PersonaHub texts: each text becomes a card's description and overrides what it names.

    Args:
        path: a JSON-lines file (optionally .gz) with `persona` or `input persona`, or the hub id `proj-persona/PersonaHub`.
        seed: draws the attributes that a text leaves open, and which texts are kept.
    Returns: (cards, funnel) where funnel counts rows read, distinct usable texts, kept, attributes named by the texts, and
        contradictions between a text and its card (which are kept and listed, not hidden).
    Source: paper, section III-A (200,000 -> several thousand -> 433).
    """
    from datasets import load_dataset

    hub = str(path) == "proj-persona/PersonaHub"
    rows = load_dataset(str(path), "persona", split="train[:200000]") if hub else load_dataset("json", data_files=str(path), split="train")
    column = next((c for c in ("persona", "input persona") if c in rows.column_names), None)
    if column is None:
        raise ValueError(f"{path}: no column 'persona' or 'input persona' (found {', '.join(rows.column_names)})")
    texts = sorted({re.sub(r"\s+", " ", str(t)).strip() for t in rows[column] if t})
    usable = [t for t in texts if 20 <= len(t) <= 200 and t.isprintable() and not re.search(r"[<>\[\]|{}]", t)]
    rng = random.Random(f"personahub|{seed}")
    rng.shuffle(usable)
    cards, named, contradictions, left = [], 0, [], dict(population()["category_personas"])
    for text in usable:
        attributes = read_description(text)
        category = attributes.get("category") or pick(rng, {k: v for k, v in left.items() if v} or {"none": 1})
        if left.get(category, 0) <= 0:
            continue
        card = draw_persona(rng, category) | {k: v for k, v in attributes.items() if k != "category"} | {"category": category, "description": text}
        named += bool(attributes)
        contradictions += [f"{p} — “{text}”" for p in impossible(card)]
        left[category] -= 1
        cards.append(card)
        if not any(left.values()):
            break
    funnel = {"rows": len(rows), "distinct": len(texts), "usable": len(usable), "kept": len(cards)}
    funnel |= {"naming_an_attribute": named, "contradictions": contradictions}
    return [{"persona_id": f"p{i + 1:03d}"} | card for i, card in enumerate(cards)], funnel


def from_environment(seed: int) -> tuple[list[dict], dict]:
    """Cards and funnel of the file that the environment variable POLYPERSONA_PERSONAHUB names; ([], {}) if it is not set."""
    source = os.environ.get("POLYPERSONA_PERSONAHUB", "")
    return from_personahub(source, seed) if source else ([], {})
