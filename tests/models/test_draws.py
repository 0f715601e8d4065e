"""Drawing a token: the bisection takes the entry that counting takes, ties, empty entries and ends included."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from polypersona_lib.models import generation
from polypersona_lib.models.generation import draw
from polypersona_lib.models.loading import empty_model
from polypersona_lib.registry import get_spec


def _counted(logits, u, temperature, top_p, nucleus=256):
    """The same in NumPy, entry by entry: how many edges lie at or below the drawn fraction."""
    picked = []
    mass = torch.softmax(logits / temperature[:, None], dim=-1)
    for row, fraction, p in zip(mass, u, top_p, strict=True):
        value, order = (row, torch.arange(len(row))) if p >= 1 else row.topk(min(nucleus, len(row)))
        if p < 1:
            value = torch.where(value.cumsum(-1) - value < p, value, 0.0)
        edges = np.cumsum(value.double().numpy())
        picked.append(int(order[min((edges <= fraction.item() * edges[-1]).sum(), len(edges) - 1)]))
    return picked


def test_a_batch_fits_into_the_free_memory_of_a_gpu(monkeypatch):
    """Llama-2 on a card with 16 GB: 6 are taken, and a place of its cache has 2 * 32 layers * 4096 numbers."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10e9, 16e9))
    weights = SimpleNamespace(is_cuda=True, device="cuda:0", element_size=lambda: 2)
    model = SimpleNamespace(config=empty_model(get_spec("llama-2-7b"), "paper").config, parameters=lambda: iter([weights]))
    assert 4000 * 2**20 < generation._places(model) * 2 * 32 * 4096 * 4 <= 5e9


def test_bisection_takes_the_entry_that_counting_takes():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(60, 700, generator=generator) * 4
    logits[:, 100:400] = float("-inf")  # plateaus
    logits[20:40, 5:9] = 3.0  # ties
    u = torch.rand(60, generator=generator, dtype=torch.float64)
    u[:3], u[3:6] = 0.0, 1 - 2**-53
    temperature = torch.full((60,), 0.7)
    for p in (1.0, 0.9):
        top_p = torch.full((60,), p)
        assert draw(logits, u, temperature, top_p).tolist() == _counted(logits, u, temperature, top_p)


def test_tokens_are_drawn_as_often_as_they_are_probable():
    chances = torch.tensor([0.5, 0.0, 0.3, 0.2])
    u = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    taken = draw(chances.log().expand(1000, 4), u, torch.ones(1000), torch.ones(1000))
    assert torch.bincount(taken, minlength=4).tolist() == [500, 0, 300, 200]


def test_a_token_does_not_depend_on_how_the_rows_beside_it_are_drawn():
    """Rows with and without a nucleus in one batch get what each gets alone."""
    generator = torch.Generator().manual_seed(3)
    logits, u = torch.randn(40, 700, generator=generator) * 3, torch.rand(40, generator=generator, dtype=torch.float64)
    temperature, top_p = torch.ones(40), torch.where(torch.arange(40) % 2 == 0, 1.0, 0.9)
    alone = [draw(logits[i : i + 1], u[i : i + 1], temperature[i : i + 1], top_p[i : i + 1]).item() for i in range(40)]
    assert draw(logits, u, temperature, top_p).tolist() == alone


def test_a_label_that_begins_another_one_is_not_counted_with_it():
    """Tokens 1 ("Agree"), 1 2 ("Agree strongly"), 1 2 3, 4 ("Disagree"): the shares of the shorter ones hold those of the longer."""
    own = generation._apart(np.array([0.7, 0.5, 0.1, 0.3]), [[1], [1, 2], [1, 2, 3], [4]])
    assert own == pytest.approx([0.2, 0.4, 0.1, 0.3]) and own.sum() == pytest.approx(1.0)
    assert generation._apart(np.array([0.7, 0.3]), [[1], [2]]).tolist() == [0.7, 0.3]
    assert (generation._apart(np.array([0.1, 0.1 + 1e-12]), [[1], [1, 2]]) >= 0).all(), "rounding makes no share negative"
