"""The base models at both scales: loading, 4-bit quantization, counting. What the models are is in `registry`, where their files are in `weights`."""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..registry import ModelSpec
from .weights import is_twin, source, weights_name

logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)  # it advises to install `kernels`, which would look for code on the hub


def load_tokenizer(spec: ModelSpec, scale: str):
    """The family's tokenizer, padding on the right, round-trip checked. Raises ValueError if it drops text."""
    from transformers import AutoTokenizer

    name = source(spec, scale)
    tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=True)
    if spec.nano is None and spec.chat_template:
        tokenizer.chat_template = spec.chat_template
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    probe = "Sometimes, a small price."
    if tokenizer.decode(tokenizer(probe, add_special_tokens=False)["input_ids"]).strip() != probe:
        raise ValueError(f"{name}: the tokenizer does not give back the text it was given")
    return tokenizer


NOT_QUANTIZED = ["lm_head", "shared_expert_gate"]  # the gate of Qwen1.5-MoE has one output: too few for a block of 64 weights


def precision(spec: ModelSpec, device: str):
    """The type to compute in: float32 on a CPU; on a GPU BF16, or FP16 where it is emulated, but FP32 for Phi-2, whose attention overflows in FP16."""
    import torch

    if device == "cpu":
        return torch.float32
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32 if spec.architecture == "phi" else torch.float16


def import_libraries() -> None:
    """Import what loading a model needs (seconds, once)."""
    import bitsandbytes.nn  # noqa: F401
    import peft  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401


def load_base(spec: ModelSpec, scale: str, *, four_bit: bool = True, device: str = "cpu", folder: Path | None = None):
    """The frozen base model, in NF4 with double quantization if `four_bit`, computing in `precision`; experts of a mixture taken apart.

    `folder` names another place to take the weights from. Safetensors only, never remote code.
    Source: paper section IV-C ("4-bit precision"); NF4 and double quantization after QLoRA [26].
    """
    import_libraries()
    from bitsandbytes.nn import Linear4bit, Params4bit
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    arguments = {}
    dtype = precision(spec, device)
    if four_bit:
        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype, llm_int8_skip_modules=NOT_QUANTIZED
        )
    model = AutoModelForCausalLM.from_pretrained(
        folder or source(spec, scale), dtype=dtype, device_map={"": device}, use_safetensors=True, attn_implementation="sdpa",
        trust_remote_code=False, local_files_only=True, **arguments,
    )  # fmt: skip
    if not is_twin(spec, scale) and folder is None:
        model.name_or_path = weights_name(spec, scale)

    def packed(linear):
        """The same layer in 4 bits, as bitsandbytes makes it of the layers it finds by itself."""
        layer = Linear4bit(linear.in_features, linear.out_features, bias=False, compute_dtype=dtype, device="meta")
        layer.weight = Params4bit(linear.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4", module=layer)
        return layer.to(device)

    separate_experts(model, packed if four_bit else None)
    for module in model.modules():
        if isinstance(module, Linear4bit):
            # bitsandbytes repacks the weights of such a layer at its first forward in eval mode, and from then on uses a kernel without a
            # backward: training after a validation would go on with wrong gradients, with no more than a warning (0.50.2).
            module.support_avx512bf16_for_cpu = False
    return model.eval()


def quantization(model) -> dict:
    """What of a model is packed into 4 bits, adapters left out: {"four_bit": parameters, "other": parameters, "left": {layer: parameters}}."""
    packed, left = 0, Counter()
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            continue
        if hasattr(parameter, "quant_state"):
            packed += parameter.quant_state.shape.numel()
        else:
            left[name.replace(".base_layer", "").rsplit(".", 2)[-2]] += parameter.numel()
    return {"four_bit": packed, "other": left.total(), "left": dict(left)}


def empty_model(spec: ModelSpec, scale: str):
    """The family's model without weights (meta device), experts taken apart: enough to count and to name. Nothing is downloaded if its shape is registered."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if is_twin(spec, scale) or spec.hub:
        config = AutoConfig.for_model(spec.architecture, **(spec.nano if is_twin(spec, scale) else {**(spec.nano or {}), **spec.hub}))
    else:
        config = AutoConfig.from_pretrained(source(spec, scale), local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        separate_experts(model)
    return model


def lora_layers(model, spec: ModelSpec) -> dict:
    """The linear layers that LoRA adapts in a plain model of the family, by their full names."""
    import torch

    return {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n.rsplit(".", 1)[-1] in spec.lora_targets}


def lora_share(spec: ModelSpec, scale: str, *, r: int) -> dict[str, float]:
    """What LoRA of rank `r` trains, counted on an empty model: {"trainable", "total" (no adapters, tied embeddings once), "share"}; nothing is downloaded."""
    model = empty_model(spec, scale)
    trainable, total = sum(r * (m.in_features + m.out_features) for m in lora_layers(model, spec).values()), sum(p.numel() for p in model.parameters())
    return {"trainable": trainable, "total": total, "share": trainable / total}


def unpacked(model):
    """A 4-bit model with its rounded weights written out in 32 bits: the same function to the last bit, without unpacking them at every step."""
    logging.getLogger("transformers.integrations.bitsandbytes").setLevel(logging.ERROR)  # it warns of the type, which the next call sets anyway
    return model.dequantize().float()


# --- mixtures of experts ---------------------------------------------------------------------------------------------------------
# Mixture-of-experts layers whose experts can be quantized and adapted like any other layer.
#
# transformers 5 keeps the routed experts of a layer in two 3-D parameters. bitsandbytes quantizes `nn.Linear` alone and PEFT's LoRA with dropout adapts
# `nn.Linear` alone, so both would pass the experts by without a word: 12.5 of the 14.3 billion parameters of Qwen1.5-MoE. Here the experts are taken apart
# into one feed-forward block each, as transformers 4 had them when the paper was written, and put together again for answering (one
# grouped product instead of many small ones).


def fused_experts(model) -> Iterator[tuple]:
    """(mixture block, its fused experts) of every layer that has 3-D expert parameters; nothing for a dense model."""
    for block in model.modules():
        experts = getattr(block, "experts", None)
        if getattr(getattr(experts, "gate_up_proj", None), "ndim", 0) == 3:
            yield block, experts


def separate_experts(model, convert=None) -> int:
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
    for block, old in list(fused_experts(model)):
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


def fuse_experts(model):
    """Put experts that `separate_experts` took apart together again, in place (plain linear layers only: de-quantized, adapters merged). Returns `model`."""
    import torch

    for block in [m for m in model.modules() if hasattr(getattr(m, "experts", None), "as_they_were")]:
        apart, (old,) = block.experts, block.experts.as_they_were
        old.gate_up_proj = torch.nn.Parameter(torch.stack([torch.cat([e.gate_proj.weight, e.up_proj.weight]) for e in apart]).detach())
        old.down_proj = torch.nn.Parameter(torch.stack([e.down_proj.weight for e in apart]).detach())
        block.experts = old.train(block.training)
    return model
