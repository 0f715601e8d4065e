"""Answers: batched sampling that computes every persona's prefix once, and the probability of each option of a closed item.

Each row draws from its own random stream, seeded by (seed, row id): an answer does not depend on which rows stand beside it.
"""

from dataclasses import dataclass
from itertools import groupby
from os.path import commonprefix
from typing import Any

import numpy as np
import pandas as pd

from ..files import sha256
from ..progress import track
from ..prompts import chat
from .shared_prefix import align, decoder, group, layer_kinds, run_prefixes, run_rows, select, unchanged


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
_PLACES = 64_000  # of a batch's keys and values (rows times places): prompts with examples are long, and 160 of them took 10 GB
_CPU_BYTES = 1.4e9  # of the same on a CPU: two processes that answer as SmolLM2 took 15 GB with twice as many
_CUDA_SHARE = 0.5  # of a GPU's free memory: they are copied when rows leave the batch


def uniforms(seed: int, row_id: str, count: int) -> np.ndarray:
    """`count` uniform numbers in [0, 1) that belong to this row and seed alone."""
    entropy = int(sha256(f"{seed}|{row_id}")[:16], 16)
    return np.random.Generator(np.random.PCG64(entropy)).random(count)


def draw(logits, u, temperature, top_p):
    """Token ids (rows,) of logits (rows, vocabulary) by inverting the cumulative distribution of the nucleus (at most `NUCLEUS` tokens where top_p < 1).

    Row by row: neither the token nor the way to it depends on the other rows.
    """
    import torch

    mass, cut = torch.softmax(logits / temperature.clamp(min=1e-4)[:, None], dim=-1), top_p < 1
    if not cut.any():
        return _invert(mass, u)
    largest, order = mass.topk(min(NUCLEUS, mass.shape[-1]), dim=-1)
    before = largest.cumsum(-1) - largest
    nucleus = torch.where(before < top_p[:, None], largest, torch.zeros_like(largest))
    chosen = order.gather(1, _invert(nucleus, u)[:, None])[:, 0]
    return chosen if cut.all() else torch.where(cut, chosen, _invert(mass, u))


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


def _read(model, prompts: list[tuple[list[int], list[int]]], questions: list[str], pad_id: int, *, room: int) -> _Prompts:
    """Run the model over prompts (shared prefix, rest): each distinct prefix once, then once what all prompts of one question begin with (its options may
    stand in several orders). The cache has room for so many more tokens."""
    import torch

    distinct, index = group([prefix for prefix, _ in prompts])
    cache, mask = run_prefixes(model, distinct, pad_id)
    rests = [rest for _, rest in prompts]
    begun = _in_common(list(zip(index, questions, strict=True)), rests)
    if any(begun):
        beginnings, index = group([(i, *rest[:n]) for i, rest, n in zip(index, rests, begun, strict=True)])
        _, _, cache, mask = run_rows(model, cache, mask, [b[0] for b in beginnings], [b[1:] for b in beginnings], pad_id)
        cache, mask = align(cache, mask)
        rests = [rest[n:] for rest, n in zip(rests, begun, strict=True)]
    states, row_mask, cache, mask = run_rows(model, cache, mask, index, rests, pad_id)
    hidden = states[torch.arange(len(states), device=states.device), row_mask.sum(-1) - 1]
    return _Prompts(hidden, *align(cache, mask, room=room))


def _in_common(keys: list, rests: list[list[int]]) -> list[int]:
    """How many tokens a row begins with like all other rows of its key, its last token left out; 0 for a row that is alone."""
    groups: dict = {}
    for number, key in enumerate(keys):
        groups.setdefault(key, []).append(number)
    common = [0] * len(rests)
    for rows in (rows for rows in groups.values() if len(rows) > 1):
        same = min(len(commonprefix([rests[n] for n in rows])), min(len(rests[n]) for n in rows) - 1)
        for n in rows:
            common[n] = same
    return common


def stop_tokens(model, tokenizer) -> list[int]:
    """The tokens that end an answer: the tokenizer's own, and those of the model's generation settings (a turn's end in Gemma, Phi-3 and others)."""
    own = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return sorted({tokenizer.eos_token_id, *(own if isinstance(own, list | tuple) else [own])} - {None})


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
    stops = torch.tensor(stop_tokens(model, tokenizer), device=device)
    for step in range(longest):
        token = draw(head(hidden).float(), u[in_batch, step], temperature[in_batch], top_p[in_batch])
        finished[in_batch] |= torch.isin(token, stops) | (limit[in_batch] <= step)
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


def _labels(tokenizer, options, lead: str) -> list[list[list[int]]]:
    """The token ids of each row's options as an answer would go on with them after `lead`."""
    return [[chat.text_ids(tokenizer, lead + name) for name in names] for names in options]


def _label_logprobs(model, prompts: _Prompts, labels: list[list[list[int]]]) -> list[np.ndarray]:
    """Log-likelihood of each option's label (token ids) at the answer's start, summed over its tokens: a mean would favour labels with a predictable tail.

    All labels of a row are read in one pass, each as if it stood alone behind the prompt; the cache is left as it was.
    """
    import torch

    body, head = decoder(model)
    device, dtype = prompts.hidden.device, prompts.hidden.dtype
    first = torch.log_softmax(head(prompts.hidden).float(), dim=-1)
    totals = [first[i, torch.tensor([label[0] for label in row], device=device)] for i, row in enumerate(labels)]
    said = [[(number, place, token, label[place + 1]) for number, label in enumerate(row) for place, token in enumerate(label[:-1])] for row in labels]
    width = max(map(len, said))
    if width:
        filled = [row + [(-1, 0, 0, 0)] * (width - len(row)) for row in said]
        owner, place, ids, wanted = torch.tensor(filled, device=device).unbind(-1)
        own = (owner[:, :, None] == owner[:, None, :]) & torch.ones(width, width, dtype=torch.bool, device=device).tril()
        seen = torch.cat([prompts.mask.bool()[:, None].expand(-1, width, -1), own], dim=-1)
        before = prompts.mask.shape[1]
        back = before + place[:, :, None] - torch.arange(before, device=device)  # how far a place of the prompt lies behind a label's token
        near = torch.cat([back < (getattr(body.config, "sliding_window", None) or before + width + 1), own], dim=-1)
        nothing, closed = torch.zeros(seen.shape, dtype=dtype, device=device), torch.finfo(dtype).min
        by_kind = {kind: seen & near if "sliding" in kind else seen for kind in layer_kinds(body.config)}
        masks = {kind: nothing.masked_fill(~open_places, closed)[:, None] for kind, open_places in by_kind.items()}
        asked = {"attention_mask": masks if len(masks) > 1 else masks.popitem()[1], "position_ids": prompts.mask.sum(-1, keepdim=True) + place}
        with unchanged(prompts.cache):
            out = body(input_ids=ids, past_key_values=prompts.cache, use_cache=True, **asked)
        real = owner >= 0
        logits = head(out.last_hidden_state[real]).float()
        scores = logits.gather(-1, wanted[real][:, None])[:, 0] - logits.logsumexp(-1)
        row = real.nonzero()[:, 0]
        for i, total in enumerate(totals):
            total.index_add_(0, owner[i][real[i]], scores[row == i])
    return [total.double().cpu().numpy() for total in totals]


def _apart(shares: np.ndarray, labels: list[list[int]]) -> np.ndarray:
    """Probabilities of labels as answers that exclude each other: one that goes on to a longer label ("Agree strongly") is not the shorter one ("Agree")."""
    own = shares.copy()
    for i in sorted(range(len(labels)), key=lambda i: -len(labels[i])):
        longer = [k for k, label in enumerate(labels) if len(label) > len(labels[i]) and label[: len(labels[i])] == labels[i]]
        own[i] = max(0.0, own[i] - own[longer].sum()) if longer else own[i]
    return own


def respond(model, tokenizer, frame: pd.DataFrame, draws: Draws, *, with_options: bool = False, begun: str = "", label: str = "", watch=None) -> pd.DataFrame:
    """Answer every row of `frame` (columns id, messages, options).

    Args:
        draws: how each row is sampled. with_options: also the probability of each option (closed items only).
        begun: words that every answer begins with: an option's name, or what is sampled, follows them.
        label: what the progress bar says; "" for no bar.
        watch: called with {row number in `frame`: token ids so far} after every token, for answers that are read while they are written;
            what it raises ends the work. The same sampling with and without.
    Returns: a frame with the index of `frame` and columns `text`, `reasoned` (whether a reasoning block was cut from it) and, if asked for,
        `option_probs` (an array per row that sums to 1) and `option_mass` (the probability that the answer begins with an option at all).
    """
    import torch

    lead = chat.answer_lead(tokenizer)
    opening = chat.text_ids(tokenizer, lead + begun) if begun else []
    prompts = [(shared, rest + opening) for shared, rest in (chat.encode_prompt(tokenizer, m) for m in frame["messages"])]
    questions, met = [m[-1]["content"].rpartition(chat.OPTIONS)[0] or m[-1]["content"] for m in frame["messages"]], {}
    first = [met.setdefault((tuple(prefix), question), i) for i, ((prefix, _), question) in enumerate(zip(prompts, questions, strict=True))]
    size = _BATCH["cuda" if next(model.parameters()).is_cuda else "cpu"]
    texts, reasoned, probabilities, mass = ([empty] * len(frame) for empty in ("", False, None, float("nan")))
    ids, labels = frame["id"].tolist(), _labels(tokenizer, frame["options"], " " if begun else lead) if with_options else None
    widths = [0] * len(frame)  # rows of like width go together, or two long lists of options in a batch widen all others
    if with_options:
        widths = [(len(rest) + sum(map(len, row))).bit_length() for (_, rest), row in zip(prompts, labels, strict=True)]
    order = sorted(range(len(frame)), key=lambda i: (widths[i], prompts[i][0], len(prompts[first[i]][1]), first[i], i))
    longest = max((len(shared) + len(rest) + s.max_tokens for (shared, rest), s in zip(prompts, draws.settings, strict=True)), default=1)
    size = max(1, min(size, _places(model) // longest))
    alike = [list(rows) for _, rows in groupby(order, key=widths.__getitem__)]
    batches = [rows[i : i + size] for rows in alike for i in range(0, len(rows), size)]
    model.eval()
    with torch.no_grad():
        for batch in track(batches, label) if label else batches:
            settings = [draws.settings[i] for i in batch]
            longest = max(s.max_tokens for s in settings)
            behind = max(sum(map(len, labels[i])) for i in batch) if with_options else 0
            asked = [prompts[i] for i in batch], [questions[i] for i in batch]
            read = _read(model, *asked, tokenizer.pad_token_id, room=max(longest, behind) + 1)
            if with_options:
                for i, logs in zip(batch, _label_logprobs(model, read, [labels[i] for i in batch]), strict=True):
                    shares = _apart(np.exp(logs - logs.max()), labels[i])
                    probabilities[i], mass[i] = shares / shares.sum(), min(1.0, float(np.exp(logs.max()) * shares.sum()))
            streams = np.stack([uniforms(draws.seed, ids[i], longest + 1) for i in batch])
            look = None if watch is None else lambda answers, rows=batch: watch(dict(zip(rows, answers, strict=True)))
            for i, tokens in zip(batch, _sample(model, tokenizer, read, settings, streams, look), strict=True):
                said = tokenizer.decode(tokens, skip_special_tokens=True)
                texts[i], reasoned[i] = chat.clean_answer(said), chat.has_reasoning(said)
    out = pd.DataFrame({"text": texts, "reasoned": reasoned}, index=frame.index)
    return out.assign(option_probs=probabilities, option_mass=mass) if with_options else out


def _places(model) -> int:
    """How many places of keys and values a batch may have: on a GPU they are held in 32 bits once the model was prepared for training."""
    import torch

    config, weights = model.config, next(model.parameters())
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    place = 2 * config.num_hidden_layers * (getattr(config, "num_key_value_heads", None) or config.num_attention_heads) * size
    if not weights.is_cuda:
        return min(_PLACES, int(_CPU_BYTES // (place * weights.element_size())))
    free = torch.cuda.mem_get_info(weights.device)[0] + torch.cuda.memory_reserved(weights.device) - torch.cuda.memory_allocated(weights.device)
    return min(_PLACES, int(_CUDA_SHARE * free // (place * 4)))


def choice_probabilities(model, tokenizer, frame: pd.DataFrame, *, label: str = "") -> list[np.ndarray]:
    """The probability of each option of closed items, nothing sampled: an array per row of `frame` (columns id, messages, options) that sums to 1."""
    nothing = Draws(0, [Sampling(1.0, 1.0, 0)] * len(frame))
    return respond(model, tokenizer, frame, nothing, with_options=True, label=label)["option_probs"].tolist()


def generate(model, tokenizer, frame: pd.DataFrame, *, seed: int, label: str = "") -> pd.DataFrame:
    """One evaluation answer per row (`text`, `reasoned`), sampled as its question type asks for (`SAMPLING`)."""
    draws = Draws(seed, [SAMPLING.get(kind, SAMPLING["open"]) for kind in frame["question_type"]])
    return respond(model, tokenizer, frame, draws, label=label)
