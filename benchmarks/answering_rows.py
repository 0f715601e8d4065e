"""Answers to the test prompts, greedy, beside other ways to generate with the same weights in 32 bits.

The gate is strict about words and honest about rounding: a batch adds numbers in another order, so a token may differ from the answer that `generate` gives
to the prompt alone, but only where the model itself gives both tokens the same logit up to `TIE`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np

from .measuring import Check, Comparison, Contender, missing
from .model_inputs import Answering, answering

LONGEST = 64  # tokens of an answer
BATCHES = 16, 64  # rows of a batch: the usual choice, and a large one
MOST_DIFFERENT = 0.05  # share of answers that may leave those of `generate` alone at a tie: what follows a tie is not compared
AT_ONCE, PAGE, BATCH_TOKENS = 64, 64, 1024  # of continuous batching: requests in flight, tokens of a page of its cache, tokens of a forward
TIE = 1e-3  # logits closer than this are equal: sums in another order move them by less
ALONE, CONTINUOUS, CTRANSLATE = "generate, one by one", "transformers continuous batching", "CTranslate2"
PADDED, WIDE = (f"generate, left-padded batches of {size}" for size in BATCHES)


def answers(*, small: bool, folder: Path, key: str) -> Comparison:
    """Answers to the 357 test prompts (6 if `small`) of at most 64 tokens (12), ours beside `generate` and others."""
    from polypersona_lib import paths
    from polypersona_lib.models.generation import Draws, Sampling, respond
    from polypersona_lib.world.dataset import read_split

    who, longest = answering("tinyllama-1.1b" if small else key), 12 if small else LONGEST
    frame = read_split(paths.DATASET / "paper", "test")
    frame = frame.head(6) if small else frame
    prompts = who.prompt_ids(frame["messages"].tolist())
    greedy = Draws(0, [Sampling(0.0, 1.0, longest)] * len(frame))
    real = sum(map(len, prompts))
    contenders = [
        Contender(
            name="ours", work=lambda: respond(who.model, who.tokenizer, frame, greedy)["text"].tolist(), real=real, computed=_shared_positions(who, frame)
        ),
        Contender(name=ALONE, work=lambda: [_generated(who, [p], longest)[0] for p in prompts], goal=6, real=real, computed=real),
        Contender(name=PADDED, work=lambda: _in_batches(who, prompts, longest, BATCHES[0]), goal=2, real=real, computed=_padded_positions(prompts, BATCHES[0])),
        Contender(name=WIDE, work=lambda: _in_batches(who, prompts, longest, BATCHES[1]), real=real, computed=_padded_positions(prompts, BATCHES[1])),
        Contender(name=CONTINUOUS, work=lambda: _continuous(who, prompts, longest), goal=1.5, real=real, computed=real, optional=True),
    ]
    left_out = {"llama.cpp": "not measured: its Python package is compiled on installation, and GGUF weights are not the same numbers"}
    if why := missing("ctranslate2", "pip install ctranslate2"):
        left_out[CTRANSLATE] = why
    else:
        contenders.append(Contender(name=CTRANSLATE, work=_ctranslate(who, prompts, longest, folder), real=real, computed=real, optional=True))
    title = f"greedy answers to {len(frame)} prompts, at most {longest} tokens, {who.name}, 32 bits"
    return Comparison(title=title, contenders=contenders, gate=lambda said: gate(who, prompts, said), left_out=left_out)


def gate(who: Answering, prompts: list[list[int]], said: dict[str, list]) -> list[Check]:
    """Every contender's answers against those of `generate` alone: equal, or apart first at two tokens of one logit (the largest distance is checked).

    Ours are texts as a reader sees them and are compared as such where they differ; the others are token ids.
    """
    from polypersona_lib.prompts import chat

    def seen(tokens: list[int]) -> str:
        return chat.clean_answer(who.tokenizer.decode(tokens, skip_special_tokens=True))

    checks = []
    for name, given in said.items():
        if name == ALONE:
            continue
        gaps = [0.0]
        for prompt, own, other in zip(prompts, said[ALONE], given, strict=True):
            if isinstance(other, str):
                if seen(own) != other:
                    gaps.append(_text_distance(who, prompt, own, other, seen))
            elif list(own) != list(other):
                gaps.append(_distance(who, prompt, own, other))
        differing = len(gaps) - 1
        checks.append(Check(f"{name}: logits apart where one of {differing} answers leaves that of generate alone", float(np.max(gaps)), TIE))
        checks.append(Check(f"{name}: share of answers that do so", differing / len(prompts), MOST_DIFFERENT))
    return checks


def _distance(who: Answering, prompt: list[int], a: list[int], b: list[int]) -> float:
    """How far apart the logits of the first two tokens are that differ (the end of an answer is the stop token)."""
    end = who.tokenizer.eos_token_id
    a, b = [*a, end], [*b, end]
    place = next(i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    logits = _next_logits(who, [*prompt, *a[:place]])
    return float(abs(logits[a[place]] - logits[b[place]])) + 1e-12


def _text_distance(who: Answering, prompt: list[int], own: list[int], text: str, seen: Callable[[list[int]], str]) -> float:
    """The same for an answer that is known as text: the logit of our best other token that goes on with the text, against the one taken alone."""
    place = next((i for i in range(len(own)) if not text.startswith(seen(own[: i + 1]))), len(own))
    logits = _next_logits(who, [*prompt, *own[:place]])
    taken = own[place] if place < len(own) else who.tokenizer.eos_token_id
    ranked = [t for t in logits.topk(20).indices.tolist() if t != taken]
    other = next((t for t in ranked if t == who.tokenizer.eos_token_id or text.startswith(seen([*own[:place], t]))), None)
    return float("inf") if other is None else float(abs(logits[taken] - logits[other])) + 1e-12


def _next_logits(who: Answering, ids: list[int]):
    """Logits (vocabulary,) of the token after `ids`."""
    import torch

    with torch.no_grad():
        return who.model(input_ids=torch.tensor([ids], device=who.model.device)).logits[0, -1].float()


def _generated(who: Answering, prompts: list[list[int]], longest: int) -> list[list[int]]:
    """`generate` on left-padded prompts: the new tokens of each, without the stop token."""
    import torch

    width, pad = max(map(len, prompts)), who.tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=who.model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=who.model.device)
    with torch.no_grad():
        out = who.model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=longest, pad_token_id=pad, **_greedy(who))
    return [_until_stop(who, row[width:].tolist()) for row in out]


def _greedy(who: Answering) -> dict:
    """What greedy generation needs beside its length; a checkpoint's own sampling settings are taken away."""
    return {"eos_token_id": who.tokenizer.eos_token_id, "temperature": None, "top_p": None, "top_k": None, "repetition_penalty": 1.0}


def _until_stop(who: Answering, tokens: list[int]) -> list[int]:
    end = who.tokenizer.eos_token_id
    return tokens[: tokens.index(end)] if end in tokens else tokens


def _in_batches(who: Answering, prompts: list[list[int]], longest: int, size: int) -> list[list[int]]:
    """`generate` on batches of `size`, prompts of like length together."""
    order, out = _by_length(prompts), {}
    for start in range(0, len(order), size):
        part = order[start : start + size]
        out |= dict(zip(part, _generated(who, [prompts[i] for i in part], longest), strict=True))
    return [out[i] for i in range(len(prompts))]


def _by_length(prompts: list[list[int]]) -> list[int]:
    return sorted(range(len(prompts)), key=lambda i: len(prompts[i]))


def _padded_positions(prompts: list[list[int]], size: int) -> int:
    """Prompt positions that batches of `size` run over."""
    order = _by_length(prompts)
    parts = [order[i : i + size] for i in range(0, len(order), size)]
    return sum(len(part) * len(prompts[part[-1]]) for part in parts)


def _shared_positions(who: Answering, frame) -> int:
    """Prompt positions of ours: every persona's prefix once, the rest of each prompt (padding left out)."""
    from polypersona_lib.prompts import chat

    pairs = [chat.encode_prompt(who.tokenizer, m) for m in frame["messages"]]
    return sum(len(rest) for _, rest in pairs) + sum(map(len, {tuple(shared) for shared, _ in pairs}))


def _continuous(who: Answering, prompts: list[list[int]], longest: int) -> list[list[int]]:
    """`generate_batch` of transformers with a cache that fits the work (it would take most of the memory). The model's attention is put back afterwards."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    pad, at_once = who.tokenizer.pad_token_id, min(len(prompts), AT_ONCE)
    pages = at_once * -(-(max(map(len, prompts)) + longest + 1) // PAGE)
    cache = ContinuousBatchingConfig(page_size=PAGE, num_blocks=pages, max_batch_tokens=BATCH_TOKENS, max_requests_per_batch=at_once)
    settings = GenerationConfig(do_sample=False, max_new_tokens=longest, pad_token_id=pad, eos_token_id=who.tokenizer.eos_token_id)
    attention = who.model.config._attn_implementation
    try:
        out = who.model.generate_batch(inputs=prompts, generation_config=settings, continuous_batching_config=cache, warmup=False)
    finally:
        who.model.set_attn_implementation(attention)
    by_number = sorted(out.values(), key=lambda reply: int(reply.request_id.rpartition("_")[2]))
    return [_until_stop(who, list(reply.generated_tokens)) for reply in by_number]


def _ctranslate(who: Answering, prompts: list[list[int]], longest: int, folder: Path) -> Callable[[], list[list[int]]]:
    """CTranslate2 with the same weights in 32 bits. Prompts of one length go together: with unequal lengths 4.x returns other positions' results."""
    import torch

    ctranslate2 = import_module("ctranslate2")  # optional, in no lock
    base, made = folder / "weights", folder / "ctranslate2"
    who.model.save_pretrained(base)
    who.tokenizer.save_pretrained(base)
    ctranslate2.converters.TransformersConverter(str(base)).convert(str(made), quantization="float32", force=True)
    generator = ctranslate2.Generator(str(made), device="cpu", intra_threads=torch.get_num_threads(), compute_type="float32")
    by_length: dict[int, list[int]] = {}
    for i, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(i)
    words = [who.tokenizer.convert_ids_to_tokens(prompt) for prompt in prompts]

    def work() -> list[list[int]]:
        out = {}
        for part in by_length.values():
            results = generator.generate_batch(
                [words[i] for i in part], max_length=longest, sampling_topk=1, beam_size=1, include_prompt_in_result=False, max_batch_size=BATCHES[0],
                end_token=[who.tokenizer.eos_token_id],
            )  # fmt: skip
            out |= {i: _until_stop(who, list(result.sequences_ids[0])) for i, result in zip(part, results, strict=True)}
        return [out[i] for i in range(len(prompts))]

    return work
