"""Mixture-of-experts layers whose experts can be quantized and adapted like any other layer.

transformers 5 keeps the routed experts of a layer in two 3-D parameters. bitsandbytes quantizes `nn.Linear` alone and PEFT's LoRA with dropout adapts
`nn.Linear` alone, so both would pass the experts by without a word: 12.5 of the 14.3 billion parameters of Qwen1.5-MoE. Here the experts are taken apart
into one feed-forward block each, as transformers 4 had them when the paper was written, and put together again for answering (one
grouped product instead of many small ones).
"""

from __future__ import annotations

from collections.abc import Iterator


def fused(model) -> Iterator[tuple]:
    """(mixture block, its fused experts) of every layer that has 3-D expert parameters; nothing for a dense model."""
    for block in model.modules():
        experts = getattr(block, "experts", None)
        if getattr(getattr(experts, "gate_up_proj", None), "ndim", 0) == 3:
            yield block, experts


def separate(model, convert=None) -> int:
    """Take the fused experts of `model` apart, in place; the function computed stays the same.

    Args:
        convert: called with every new `nn.Linear`; returns what is to stand in its place (a 4-bit layer).
    Returns: the number of experts taken apart (0 for a dense model).
    """
    import torch

    class Experts(torch.nn.ModuleList):
        """One feed-forward block an expert; every block sees the tokens that the router sent to it."""

        def forward(self, hidden_states, top_k_index, top_k_weights):
            out = torch.zeros_like(hidden_states)
            for number, expert in enumerate(self):
                token, place = torch.where(top_k_index == number)
                if len(token):
                    out = out.index_add(0, token, (expert(hidden_states[token]) * top_k_weights[token, place, None]).to(out.dtype))
            return out

    count = 0
    for block, old in list(fused(model)):
        shape, config = type(block.shared_expert), block.shared_expert.config
        width, apart = old.gate_up_proj.shape[1] // 2, Experts()
        for gate_up, down in zip(old.gate_up_proj, old.down_proj, strict=True):
            with torch.device("meta"):
                expert = shape(config, intermediate_size=width)
            for name, weight in (("gate_proj", gate_up[:width]), ("up_proj", gate_up[width:]), ("down_proj", down)):
                linear = getattr(expert, name)
                linear.weight = torch.nn.Parameter(weight.detach().clone(), requires_grad=old.down_proj.requires_grad)
                setattr(expert, name, convert(linear) if convert else linear)
            apart.append(expert)
        old.gate_up_proj = old.down_proj = None
        apart.as_they_were = (old,)  # in a tuple, so that it is no part of the model
        block.experts = apart
        count += len(apart)
    return count


def fuse(model):
    """Put experts that `separate` took apart together again, in place (plain linear layers only: de-quantized, adapters merged). Returns `model`."""
    import torch

    for block in [m for m in model.modules() if hasattr(getattr(m, "experts", None), "as_they_were")]:
        apart, (old,) = block.experts, block.experts.as_they_were
        old.gate_up_proj = torch.nn.Parameter(torch.stack([torch.cat([e.gate_proj.weight, e.up_proj.weight]) for e in apart]).detach())
        old.down_proj = torch.nn.Parameter(torch.stack([e.down_proj.weight for e in apart]).detach())
        block.experts = old.train(block.training)
    return model
