"""Answers: batched sampling that computes every persona's prefix once, and the probability of each option of a closed item.

Each row draws from its own random stream, seeded by (seed, row id): an answer does not depend on which rows stand beside it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..files import sha256
from ..progress import track
from ..prompts import chat
from .shared_prefix import align, decoder, group, pad, run_prefixes, run_rows, select


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn: temperature (0: the most probable token), nucleus mass `top_p`, and the longest answer in tokens."""

    temperature: float
    top_p: float
    max_tokens: int


@dataclass(frozen=True)
class Draws:
    """How the answers to some rows are drawn: with which seed, and each row's `Sampling`."""

    seed: int
    settings: list[Sampling]


SAMPLING = {  # evaluation, by question type; the paper is silent. Closed items nearly greedy: the option should be the most probable one
    "open": Sampling(0.7, 0.9, 112),
    "likert": Sampling(0.3, 0.9, 64),
    "agreement": Sampling(0.3, 0.9, 64),
    "yesno": Sampling(0.3, 0.9, 64),
}
ADMINISTRATION = Sampling(1.0, 1.0, 56)  # a simulated respondent: options as often as they are probable
NUCLEUS = 256
_BATCH = {"cpu": 160, "cuda": 64}


def uniforms(seed: int, row_id: str, count: int) -> np.ndarray:
    """`count` uniform numbers in [0, 1) that belong to this row and seed alone."""
    entropy = int(sha256(f"{seed}|{row_id}")[:16], 16)
    return np.random.Generator(np.random.PCG64(entropy)).random(count)


def draw(logits, u, temperature, top_p):
    """Token ids (rows,) of logits (rows, vocabulary) by inverting the cumulative distribution of the nucleus (at most `NUCLEUS` tokens where top_p < 1)."""
    import torch

    mass = torch.softmax(logits / temperature.clamp(min=1e-4)[:, None], dim=-1)
    if bool((top_p >= 1).all()):
        return _invert(mass, u)
    mass, order = mass.topk(min(NUCLEUS, mass.shape[-1]), dim=-1)
    before = mass.cumsum(-1) - mass
    mass = torch.where(before < top_p[:, None], mass, torch.zeros_like(mass))
    return order.gather(1, _invert(mass, u)[:, None])[:, 0]


def _invert(mass, u):
    """Index of the first entry whose cumulative mass (in 64 bits) exceeds the fraction `u` of the row's total. By bisection: edges never fall."""
    import torch

    edges = mass.cumsum(-1, dtype=torch.float64)
    return torch.searchsorted(edges, u[:, None] * edges[:, -1:], right=True)[:, 0].clamp(max=mass.shape[-1] - 1)


@dataclass(frozen=True)
class _Prompts:
    """Prompts that the model has read: `hidden` state of each row's last token (rows, size), key-value `cache`, `mask` (rows, places), 1 for a token."""

    hidden: Any
    cache: Any
    mask: Any


def _read(model, prompts: list[tuple[list[int], list[int]]], pad_id: int, *, room: int) -> _Prompts:
    """Run the model over prompts (shared prefix, rest), each distinct prefix once; the cache has room for as many more tokens."""
    import torch

    distinct, index = group([prefix for prefix, _ in prompts])
    cache, prefix_mask = run_prefixes(model, distinct, pad_id)
    states, row_mask, cache, mask = run_rows(model, cache, prefix_mask, index, [rest for _, rest in prompts], pad_id)
    hidden = states[torch.arange(len(states), device=states.device), row_mask.sum(-1) - 1]
    return _Prompts(hidden, *align(cache, mask, room=room))


def _sample(model, tokenizer, prompts: _Prompts, settings: list[Sampling], streams: np.ndarray, watch=None) -> list[list[int]]:
    """Continue every row until its stop token or longest answer; rows leave the batch a quarter at a time. `watch(answers)` sees every step and may raise."""
    import torch

    body, head = decoder(model)
    hidden, cache, mask = prompts.hidden, prompts.cache, prompts.mask
    device = hidden.device
    temperature, top_p, limit = (torch.tensor([getattr(s, f) for s in settings], device=device) for f in ("temperature", "top_p", "max_tokens"))
    u, longest = torch.tensor(streams, device=device), int(limit.max())
    in_batch, answers = torch.arange(len(settings), device=device), [[] for _ in settings]  # which row each place of the batch holds
    finished = torch.zeros(len(settings), dtype=torch.bool, device=device)
    for step in range(longest):
        token = draw(head(hidden).float(), u[in_batch, step], temperature[in_batch], top_p[in_batch])
        finished[in_batch] |= (token == tokenizer.eos_token_id) | (limit[in_batch] <= step)
        goes_on = ~finished[in_batch]
        for row, one, more in zip(in_batch.tolist(), token.tolist(), goes_on.tolist(), strict=True):
            if more:
                answers[row].append(one)
        if watch is not None:
            watch(answers)
        if not goes_on.any():
            break
        if goes_on.sum() < 0.75 * len(goes_on):
            index = goes_on.nonzero()[:, 0]
            cache, mask, in_batch, token = select(cache, index, room=longest - step), mask[index], in_batch[index], token[index]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=-1)
        position = mask.sum(-1, keepdim=True) - 1
        out = body(input_ids=token[:, None], attention_mask=mask, position_ids=position, past_key_values=cache, use_cache=True)
        hidden, cache = out.last_hidden_state[:, -1], out.past_key_values
    return answers


def _label_logprobs(model, tokenizer, prompts: _Prompts, options: list[list[str]]) -> list[np.ndarray]:
    """Log-likelihood of each option's label at the answer's start, summed over its tokens: a mean would favour labels with a predictable tail."""
    import torch

    head, lead = decoder(model)[1], chat.answer_lead(tokenizer)
    labels = [[tokenizer(lead + o, add_special_tokens=False)["input_ids"] for o in row] for row in options]
    owner = [i for i, row in enumerate(labels) for _ in row]
    flat = [label for row in labels for label in row]
    first = torch.log_softmax(head(prompts.hidden).float(), dim=-1)
    total = first[torch.tensor(owner), torch.tensor([label[0] for label in flat])].clone()
    longer = [j for j, label in enumerate(flat) if len(label) > 1]
    if longer:
        rows = [owner[j] for j in longer]
        states, _, _, _ = run_rows(model, prompts.cache, prompts.mask, rows, [flat[j][:-1] for j in longer], tokenizer.pad_token_id)
        ids, real = (t.to(states.device) for t in pad([flat[j][1:] for j in longer], 0))
        scores = torch.log_softmax(head(states).float(), dim=-1).gather(-1, ids[..., None])[..., 0]
        total[torch.tensor(longer)] += (scores * real).sum(-1)
    return [part.double().cpu().numpy() for part in total.split([len(row) for row in labels])]


def respond(model, tokenizer, frame: pd.DataFrame, draws: Draws, *, with_options: bool = False, label: str = "", watch=None) -> pd.DataFrame:
    """Answer every row of `frame` (columns id, messages, options).

    Args:
        draws: how each row is sampled. with_options: also the probability of each option (closed items only).
        label: what the progress bar says; "" for no bar.
        watch: called with {row number in `frame`: token ids so far} after every token, for answers that are read while they are written;
            what it raises ends the work. The same sampling with and without.
    Returns: a frame with the index of `frame` and columns `text`, `reasoned` (whether a reasoning block was cut from it) and, if asked for,
        `option_probs` (an array per row that sums to 1) and `option_mass` (the probability that the answer begins with an option at all).
    """
    import torch

    prompts = [chat.encode_prompt(tokenizer, m) for m in frame["messages"]]
    order = sorted(range(len(frame)), key=lambda i: (prompts[i][0], len(prompts[i][1]), i))
    size = _BATCH["cuda" if next(model.parameters()).is_cuda else "cpu"]
    texts, reasoned, probabilities, mass = ([empty] * len(frame) for empty in ("", False, None, float("nan")))
    ids, options = frame["id"].tolist(), frame["options"].tolist() if with_options else None
    batches = [order[i : i + size] for i in range(0, len(order), size)]
    model.eval()
    with torch.no_grad():
        for batch in track(batches, label) if label else batches:
            settings = [draws.settings[i] for i in batch]
            longest = max(s.max_tokens for s in settings)
            read = _read(model, [prompts[i] for i in batch], tokenizer.pad_token_id, room=longest + 1)
            if with_options:
                for i, logs in zip(batch, _label_logprobs(model, tokenizer, read, [options[i] for i in batch]), strict=True):
                    shares = np.exp(logs - logs.max())
                    probabilities[i], mass[i] = shares / shares.sum(), min(1.0, float(np.exp(logs).sum()))
            streams = np.stack([uniforms(draws.seed, ids[i], longest + 1) for i in batch])
            look = None if watch is None else lambda answers, rows=batch: watch(dict(zip(rows, answers, strict=True)))
            for i, tokens in zip(batch, _sample(model, tokenizer, read, settings, streams, look), strict=True):
                said = tokenizer.decode(tokens, skip_special_tokens=True)
                texts[i], reasoned[i] = chat.clean_answer(said), chat.has_reasoning(said)
    out = pd.DataFrame({"text": texts, "reasoned": reasoned}, index=frame.index)
    return out.assign(option_probs=probabilities, option_mass=mass) if with_options else out


def choice_probabilities(model, tokenizer, frame: pd.DataFrame, *, label: str = "") -> list[np.ndarray]:
    """The probability of each option of closed items, nothing sampled: an array per row of `frame` (columns id, messages, options) that sums to 1."""
    nothing = Draws(0, [Sampling(1.0, 1.0, 0)] * len(frame))
    return respond(model, tokenizer, frame, nothing, with_options=True, label=label)["option_probs"].tolist()


def generate(model, tokenizer, frame: pd.DataFrame, *, seed: int, label: str = "") -> pd.DataFrame:
    """One evaluation answer per row (`text`, `reasoned`), sampled as its question type asks for (`SAMPLING`)."""
    draws = Draws(seed, [SAMPLING.get(kind, SAMPLING["open"]) for kind in frame["question_type"]])
    return respond(model, tokenizer, frame, draws, label=label)
