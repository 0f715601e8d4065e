"""Shared prefixes: rows of one persona begin alike, so their common part is computed once and its keys and values are handed on.

The cache stays in the autograd graph: training through it has the loss and the gradients of training on whole rows (tested).
Layers with a sliding window (Mistral) keep all their keys here and the mask does the sliding, by places in the cache: between a row's first and last
token there must be no padding, so prefixes are padded on the left and whatever goes on after a row is moved there too (`align`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache as once


def pad(rows: list[list[int]], value: int, *, left: bool = False):
    """A (rows, longest) int64 tensor and its 0/1 mask; shorter rows are filled with `value` on the right (or the left)."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    def padded(tensors: list, filling: int):
        return pad_sequence(tensors, batch_first=True, padding_value=filling, padding_side="left" if left else "right")

    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    return padded(tensors, value), padded([torch.ones_like(t) for t in tensors], 0)


def decoder(model):
    """The transformer below the LM head, with LoRA layers in place, of a plain or PEFT-wrapped causal LM."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return base.model, _head(base)


def _head(base):
    """The LM head with what some families do to its logits: Granite divides them, Cohere multiplies them, Gemma 2 bends them to stay below a limit."""
    factor = getattr(base.config, "logit_scale", None) or 1 / (getattr(base.config, "logits_scaling", None) or 1)
    limit = getattr(base.config, "final_logit_softcapping", None)
    if factor == 1 and not limit:
        return base.lm_head

    def head(states):
        logits = base.lm_head(states) * factor
        return (logits / limit).tanh() * limit if limit else logits

    return head


def _changed(cache, change, room: int = 0):
    """A new cache: `change` applied to the keys and values (rows, heads, places, size) of every layer, and `room` for more places.

    With room, new tokens are written in place, where a `DynamicCache` copies all keys and values for every token; not differentiable then, and `cache` is
    used up layer by layer, because two whole ones would take twice the memory.
    """
    from transformers import DynamicCache

    new = DynamicCache()
    for number, layer in enumerate(cache.layers):
        if room:
            new.layers.append(_roomy_layer()(change(layer.keys), change(layer.values), room))
            layer.keys = layer.values = layer.room = None
        else:
            new.update(change(layer.keys), change(layer.values), number)
    return new


@once
def _roomy_layer():
    """A class (transformers is imported late here): a cache layer that writes what is added into room taken beforehand."""
    from transformers.cache_utils import DynamicLayer

    class RoomyLayer(DynamicLayer):
        def __init__(self, keys, values, room: int):
            super().__init__()
            self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
            rows, heads, places, size = keys.shape
            self.room, self.places = [s.new_empty(rows, heads, places + room, size) for s in (keys, values)], 0
            self.update(keys, values)

        def update(self, key_states, value_states, *args, **kwargs):
            end = self.places + key_states.shape[-2]
            for states, new in zip(self.room, (key_states, value_states), strict=True):
                states[..., self.places : end, :] = new
            self.places = end
            self.keys, self.values = (states[..., :end, :] for states in self.room)
            return self.keys, self.values

    return RoomyLayer


def layer_kinds(config) -> set[str]:
    """The kinds of attention that a model's layers have, in the words of transformers' `layer_types`."""
    every = "sliding_attention" if getattr(config, "sliding_window", None) else "full_attention"
    return set(getattr(config, "layer_types", None) or [every])


@contextmanager
def unchanged(cache) -> Iterator[None]:
    """What is written into a cache with room is forgotten at the end."""
    places = [layer.places for layer in cache.layers]
    try:
        yield
    finally:
        for layer, end in zip(cache.layers, places, strict=True):
            layer.places = end
            layer.keys, layer.values = (states[..., :end, :] for states in layer.room)


def select(cache, index, room: int = 0):
    """A new cache whose batch row i is row `index[i]` of `cache` (differentiable without room, see `_changed`)."""
    return _changed(cache, lambda states: states.index_select(0, index), room)


def align(cache, mask, room: int = 0):
    """Move every row's padding to the left. Args: mask (rows, places), 1 for a token. Returns: (new cache, new mask)."""
    order = mask.sort(dim=-1, stable=True).indices[:, int((1 - mask).sum(-1).min()) :]
    moved = _changed(cache, lambda states: states.gather(2, order[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3])), room)
    return moved, mask.gather(1, order)


def run_prefixes(model, prefixes: list[list[int]], pad_id: int):
    """Run distinct prefixes (left-padded) once. Returns (cache, mask (prefixes, width))."""
    from transformers import DynamicCache

    body, _ = decoder(model)
    device = next(model.parameters()).device
    ids, mask = (t.to(device) for t in pad(prefixes, pad_id, left=True))
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    cache = body(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=DynamicCache(), use_cache=True).past_key_values
    if not cache or not cache.layers:  # gradient checkpointing drops it in training: the rows would go on from nothing
        raise ValueError("the model keeps no keys and values of a prefix (gradient checkpointing?), so rows cannot share one")
    return cache, mask


def run_rows(model, cache, prefix_mask, index, rows: list[list[int]], pad_id: int):
    """Continue each row i from prefix `index[i]` with its ids: (states (rows, width, hidden), row mask (rows, width), cache, mask (rows, prefix + width))."""
    import torch

    body, _ = decoder(model)
    device = next(model.parameters()).device
    ids, mask = (t.to(device) for t in pad(rows, pad_id))
    index = torch.as_tensor(index, device=device)
    before = prefix_mask.index_select(0, index)
    positions = before.sum(-1, keepdim=True) + (mask.cumsum(-1) - 1).clamp(min=0)
    full = torch.cat([before, mask], dim=-1)
    out = body(input_ids=ids, attention_mask=full, position_ids=positions, past_key_values=select(cache, index), use_cache=True)
    return out.last_hidden_state, mask, out.past_key_values, full


def group(keys: list) -> tuple[list, list[int]]:
    """(distinct keys in order of appearance, for every key its place among them)."""
    seen: dict = {}
    index = [seen.setdefault(tuple(k), len(seen)) for k in keys]
    return [list(k) for k in seen], index


def by_length(lengths: list[int]) -> list[list[int]]:
    """Row numbers in two groups, the shorter rows and the longer ones, cut where least padding is left (one group if there is none)."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])

    def computed(cut: int) -> int:
        """Positions that are run over if the first `cut` rows go apart."""
        shorter = cut * lengths[order[cut - 1]] if cut else 0
        return shorter + (len(order) - cut) * lengths[order[-1]]

    cut = min(range(len(order)), key=computed)
    return [part for part in (order[:cut], order[cut:]) if part]


def computed_positions(rows, *, shared: bool) -> int:
    """How many token positions `answer_logits` runs over for these rows, padding included."""
    if not shared:
        return len(rows) * max(len(r.ids) for r in rows)
    prefixes, _ = group([r.shared for r in rows])
    lengths = [len(r.rest) + len(r.answer) for r in rows]
    return len(prefixes) * max(map(len, prefixes)) + sum(len(part) * lengths[part[-1]] for part in by_length(lengths))


def answer_logits(model, rows, pad_id: int, *, shared: bool):
    """Logits that predict each answer token, the LM head computed there alone.

    Args:
        rows: `chat.Encoded` rows. shared: whether equal prefixes are computed once, and short rows apart from long ones (not with gradient
            checkpointing, which knows no cache).
    Returns: (logits (answer tokens, vocabulary), targets (answer tokens,)), row after row.
    """
    import torch

    device = next(model.parameters()).device
    tails = [(r.rest if shared else r.shared + r.rest) + r.answer for r in rows]
    if shared:
        prefixes, index = group([r.shared for r in rows])
        cache, prefix_mask = run_prefixes(model, prefixes, pad_id)
        parts = by_length([len(t) for t in tails])
        states = [run_rows(model, cache, prefix_mask, [index[i] for i in part], [tails[i] for i in part], pad_id)[0] for part in parts]
    else:
        ids, mask = (t.to(device) for t in pad(tails, pad_id))
        parts, states = [list(range(len(rows)))], [decoder(model)[0](input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state]
    picked, origin = [], []
    for part, hidden in zip(parts, states, strict=True):
        where = [(k, len(tails[i]) - len(rows[i].answer) - 1 + j) for k, i in enumerate(part) for j in range(len(rows[i].answer))]
        at = torch.tensor(where, device=device)
        picked.append(hidden[at[:, 0], at[:, 1]])
        origin += [i for i in part for _ in rows[i].answer]
    in_order = torch.tensor(sorted(range(len(origin)), key=lambda n: origin[n]), device=device)
    targets = torch.tensor([t for r in rows for t in r.answer], device=device)
    return decoder(model)[1](torch.cat(picked)[in_order]), targets
