"""The base models: one registry entry a family, loading at both scales, 4-bit quantization, LoRA placement.

Nothing outside this module and `nano` knows a family's name. Adding a model is one `ModelSpec` and one test.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from . import paths

PAPER_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")  # paper, section IV-C


@dataclass(frozen=True)
class ModelSpec:
    """One family of the paper.

    Attributes:
        key: slug used in files and options. display: name as in the paper's Table II. order: row in Table II.
        hub_id, revision: what `paper` downloads. licence, gated: what a user must accept first.
        template: "native" if the tokenizer has a chat template, "none" for the ChatML fallback of Algorithm 1.
        control: strings that open or close a role, as the family spells them.
        lora_targets: module names that LoRA adapts, in this family's own words (the paper's list where it exists).
        nano: configuration of the twin, keyword arguments of the family's own `transformers` config class.
    """

    key: str
    display: str
    order: int
    hub_id: str
    revision: str
    licence: str
    gated: bool
    architecture: str
    template: str
    control: tuple[str, ...]
    lora_targets: tuple[str, ...]
    nano: dict = field(hash=False)


NANO_SIZE = {"vocab_size": 3584, "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "max_position_embeddings": 1024}
MODELS: dict[str, ModelSpec] = {
    spec.key: spec
    for spec in (
        ModelSpec(
            "phi-2", "Phi-2", 1, "microsoft/phi-2", "ef382358ec9e382308935a992d908de099b64c23", "MIT", False, "phi", "none",
            ("<|im_start|>", "<|im_end|>"), ("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"),
            {**NANO_SIZE, "intermediate_size": 512, "num_key_value_heads": 4, "partial_rotary_factor": 0.4, "hidden_act": "gelu_new",
             "layer_norm_eps": 1e-5, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attention_dropout": 0.0, "tie_word_embeddings": False},
        ),
        ModelSpec(
            "tinyllama-1.1b", "PolyPersona (TinyLlama 1.1B)", 7, "TinyLlama/TinyLlama-1.1B-Chat-v1.0", "fe8a4ea1ffedaf415f4da2f062534de366a451e6",
            "Apache-2.0", False, "llama", "native", ("<|system|>", "<|user|>", "<|assistant|>", "</s>"), PAPER_TARGETS,
            {**NANO_SIZE, "intermediate_size": 384, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
             "attention_bias": False, "tie_word_embeddings": False},
        ),
    )
}  # fmt: skip


HUB_SIZES = {  # from config.json at the pinned revisions: enough to count a hub model's parameters without its weights
    "phi-2": {
        "vocab_size": 51200, "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
    },
    "tinyllama-1.1b": {
        "vocab_size": 32000, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4,
    },
}  # fmt: skip


def get_spec(key: str) -> ModelSpec:
    """The registry entry of `key`. Raises ValueError listing the valid keys."""
    if key not in MODELS:
        raise ValueError(f"unknown model '{key}'; choose from {', '.join(MODELS)}")
    return MODELS[key]


def source(spec: ModelSpec, scale: str) -> tuple[str, dict]:
    """(path or hub id, download arguments) of the base at the given scale ("nano" or "paper")."""
    if scale == "nano":
        folder = paths.NANO_MODELS / spec.key
        verify_nano(folder)
        return str(folder), {"local_files_only": True}
    return spec.hub_id, {"revision": spec.revision}


def verify_nano(folder: Path) -> None:
    """Compare every file of a shipped twin with its card's hashes. Raises FileNotFoundError or ValueError naming the file."""
    listing = folder / "hashes.json"
    if not listing.exists():
        raise FileNotFoundError(f"{folder}: no nano twin here; build it with: python -m polypersona_lib.nano")
    for name, expected in json.loads(listing.read_text()).items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
            raise ValueError(f"{folder / name}: does not match hashes.json; restore the file or rebuild with: python -m polypersona_lib.nano")


def load_tokenizer(spec: ModelSpec, scale: str):
    """The family's tokenizer, padding on the right, round-trip checked. Raises ValueError if it drops text."""
    from transformers import AutoTokenizer

    name, arguments = source(spec, scale)
    tokenizer = AutoTokenizer.from_pretrained(name, **arguments)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    probe = "Sometimes, a small price."
    if tokenizer.decode(tokenizer(probe, add_special_tokens=False)["input_ids"]).strip() != probe:
        raise ValueError(f"{name}: the tokenizer does not give back the text it was given")
    return tokenizer


def load_base(spec: ModelSpec, scale: str, *, four_bit: bool = True, device: str = "cpu", folder: Path | None = None):
    """The frozen base model, in NF4 with double quantization if `four_bit`; float32 on the CPU, bfloat16 on CUDA.

    `folder` names another place to take the weights from. Safetensors only, never remote code.
    Source: paper section IV-C ("4-bit precision"); NF4 and double quantization after QLoRA [26].
    """
    import torch
    from bitsandbytes.nn import Linear4bit
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    name, arguments = source(spec, scale) if folder is None else (str(folder), {"local_files_only": True})
    dtype = torch.float32 if device == "cpu" else torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if four_bit:
        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
    model = AutoModelForCausalLM.from_pretrained(
        name, dtype=dtype, device_map={"": device}, use_safetensors=True, attn_implementation="sdpa", trust_remote_code=False, **arguments
    )
    for module in model.modules():
        if isinstance(module, Linear4bit):
            # bitsandbytes repacks the weights of such a layer at its first forward in eval mode, and from then on uses a kernel without a
            # backward: training after a validation would go on with wrong gradients, with no more than a warning (0.50.2).
            module.support_avx512bf16_for_cpu = False
    return model.eval()


def lora_modules(model, spec: ModelSpec) -> dict[str, int]:
    """How many modules each LoRA target matches. Raises ValueError for a target that matches none, listing what exists."""
    import torch

    names = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and ".lora_" not in name]
    linear = [name.removesuffix(".base_layer").rsplit(".", 1)[-1] for name in names]  # a wrapped model's layers are called q_proj.base_layer
    counts = {target: linear.count(target) for target in spec.lora_targets}
    missing = [t for t, n in counts.items() if n == 0]
    if missing:
        raise ValueError(f"{spec.key}: LoRA target(s) {', '.join(missing)} match no module; linear layers here: {', '.join(sorted(set(linear)))}")
    return counts


def add_lora(model, spec: ModelSpec, *, r: int, alpha: int, dropout: float, seed: int):
    """Wrap `model` in a PEFT LoRA adapter on the family's targets. Source: paper section IV-C (r = 16, alpha = 32, dropout .05)."""
    import torch
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    lora_modules(model, spec)
    if getattr(model, "is_loaded_in_4bit", False):
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=next(model.parameters()).is_cuda)
    torch.manual_seed(seed)
    model.name_or_path = model.config._name_or_path = _portable(model.name_or_path)
    config = LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(spec.lora_targets), bias="none", task_type="CAUSAL_LM")
    wrapped = get_peft_model(model, config)
    wrapped.peft_config["default"].target_modules = sorted(spec.lora_targets)  # PEFT keeps a set: its order in the file would follow PYTHONHASHSEED
    return wrapped


def _portable(name: str) -> str:
    """What an adapter's files call their base: a hub id as it is, a folder without the path of this machine."""
    folder = Path(name)
    if not folder.is_absolute():
        return name
    return folder.relative_to(paths.ROOT).as_posix() if folder.is_relative_to(paths.ROOT) else folder.name


def lora_share(spec: ModelSpec, scale: str, *, r: int) -> dict[str, float]:
    """What LoRA of rank `r` trains, counted on an empty model of the family: {"trainable", "total", "share"}; NaN if the hub sizes are not known.

    `total` is the base without its adapters. Nothing is downloaded and no weight is allocated.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if scale != "nano" and spec.key not in HUB_SIZES:
        return dict.fromkeys(("trainable", "total", "share"), float("nan"))
    sizes = spec.nano if scale == "nano" else {**spec.nano, **HUB_SIZES[spec.key]}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(spec.architecture, **sizes))
    linear = [m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n.rsplit(".", 1)[-1] in spec.lora_targets]
    trainable, total = sum(r * (m.in_features + m.out_features) for m in linear), sum(p.numel() for p in model.parameters())
    return {"trainable": trainable, "total": total, "share": trainable / total}


def load_for_inference(spec: ModelSpec, scale: str, adapter: Path | None, *, device: str = "cpu", folder: Path | None = None):
    """The quantized base with its adapter, ready to answer.

    On the CPU the 4-bit weights are de-quantized once and the adapter is merged into them: the same function, several times faster.
    Raises: FileNotFoundError if the adapter is missing (it never falls back to the base); ValueError if it changes no weight.
    """
    from peft import PeftModel

    if adapter is not None and not (Path(adapter) / "adapter_model.safetensors").exists():
        raise FileNotFoundError(f"{adapter}: no adapter here; run notebook 03 first")
    model = load_base(spec, scale, device=device, folder=folder)
    if device == "cpu":
        model = model.dequantize().float()
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
        if not any(p.abs().max() > 0 for n, p in model.named_parameters() if "lora_B" in n):
            raise ValueError(f"{adapter}: the adapter changes nothing (all lora_B are zero)")
        if device == "cpu":
            model = model.merge_and_unload()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model.eval()


def folder_hash(folder: Path) -> str:
    """sha256 over names and contents of a folder's files, sorted by name."""
    digest = hashlib.sha256()
    for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
