"""LoRA adapters: put on a base, trained faster on a CPU, saved, loaded with a check of every weight, merged for answering, and looked into."""

import json
import math
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from .. import paths
from ..config import RunConfig, device
from ..files import read_json
from ..registry import ModelSpec
from .loading import fuse_experts, load_base, unpacked
from .weights import check_safetensors


def add_lora(model, spec: ModelSpec, *, r: int, alpha: int, dropout: float, seed: int):
    """Wrap `model` in a PEFT LoRA adapter on the family's targets; unpacked layers on a CPU take the faster step of `fused_layer`.

    Source: paper section IV-C (r = 16, alpha = 32, dropout .05).
    """
    import torch
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    lora_modules(model, spec)
    if getattr(model, "is_loaded_in_4bit", False):
        checkpointing = {"use_gradient_checkpointing": next(model.parameters()).is_cuda, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
        model = prepare_model_for_kbit_training(model, **checkpointing)
    torch.manual_seed(seed)
    model.name_or_path = model.config._name_or_path = _portable(model.name_or_path)
    config = LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(spec.lora_targets), bias="none", task_type="CAUSAL_LM")
    config.revision = spec.revision if model.name_or_path == spec.hub_id else None
    wrapped = get_peft_model(model, config)
    wrapped.peft_config["default"].target_modules = sorted(spec.lora_targets)  # PEFT keeps a set: its order in the file would follow PYTHONHASHSEED
    fuse(wrapped)
    return wrapped


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


def _portable(name: str) -> str:
    """What an adapter's files call their base: a hub id as it is, a folder without the path of this machine."""
    folder = Path(name)
    if not folder.is_absolute():
        return name
    return folder.relative_to(paths.ROOT).as_posix() if folder.is_relative_to(paths.ROOT) else folder.name


def save_adapter(model, folder: Path) -> None:
    """Write the adapter in PEFT's layout. (By itself PEFT would ask the hub whether the base's vocabulary has changed.)"""
    model.save_pretrained(str(folder), save_embedding_layers=False)


def load_adapter(model, folder: Path) -> None:
    """Set the adapter weights of a wrapped model from a folder, every one of them.

    PEFT's own `from_pretrained` and `load_adapter` take the routed experts of Qwen1.5-MoE for fused ones whatever the model looks like, and leave
    the weights of their adapters out without a word (0.21.2). Raises: ValueError unless names and shapes are those of the model's adapter.
    """
    import torch
    from safetensors.torch import load_file

    check_safetensors(Path(folder) / "adapter_model.safetensors")
    stored = load_file(Path(folder) / "adapter_model.safetensors")
    wanted = {name.replace(".default.", "."): parameter for name, parameter in model.named_parameters() if "lora_" in name}
    unlike = sorted(name for name in stored.keys() | wanted.keys() if name not in stored or name not in wanted or stored[name].shape != wanted[name].shape)
    if unlike:
        raise ValueError(f"{folder}: does not fit {_portable(model.name_or_path)} ({len(unlike)} weights differ in name or shape, first {unlike[0]})")
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(stored[name])


def load_for_inference(spec: ModelSpec, scale: str, adapter: Path | None, *, device: str = "cpu", folder: Path | None = None):
    """The quantized base with its adapter, ready to answer.

    On the CPU the 4-bit weights are unpacked once and the adapter is merged into them: the same function, several times faster.
    Raises: FileNotFoundError if the adapter is missing (it never falls back to the base); ValueError if it belongs to another base or changes no logits.
    """
    if adapter is not None and not (Path(adapter) / "adapter_model.safetensors").exists():
        raise FileNotFoundError(f"{adapter}: no adapter here; run notebook 03 first")
    model = load_base(spec, scale, device=device, folder=folder)
    if device == "cpu":
        model = unpacked(model)
    if adapter is not None:
        model = with_adapter(model, Path(adapter))
        if device == "cpu":
            model = model.merge_and_unload()
    if device == "cpu":
        fuse_experts(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model.eval()


def with_adapter(model, adapter: Path):
    """`model` with the adapter of a folder, checked to be made for this base and to change what it says."""
    import torch
    from peft import PeftConfig, get_peft_model

    made_for, base = read_json(adapter / "adapter_config.json").get("base_model_name_or_path"), _portable(model.name_or_path)
    if made_for != base:
        raise ValueError(f"{adapter}: an adapter of {made_for}, not of {base}")
    model.name_or_path = model.config._name_or_path = base
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers by a name that it will drop: nothing a user can do
        model = get_peft_model(model, PeftConfig.from_pretrained(str(adapter))).eval()
    load_adapter(model, adapter)
    probe = torch.arange(8, device=next(model.parameters()).device)[None]
    with torch.no_grad():
        tuned = model(input_ids=probe).logits
        with model.disable_adapter():
            plain = model(input_ids=probe).logits
    if torch.equal(tuned, plain):
        raise ValueError(f"{adapter}: the adapter changes nothing")
    return model


def adapted_folder(run: RunConfig, spec: ModelSpec) -> Path | None:
    """Where the adapted base of a run on foreign data lies; None if the run's recipe has none."""
    return run.paths.results / "adapters" / f"{spec.key}-base" if run.train_spec.adapt_epochs else None


def load_tuned(run: RunConfig, spec: ModelSpec, *, tuned: bool = True, folder: Path | None = None):
    """The run's model for answering: its (adapted) base with the adapter (of `folder`, by default the run's own), or the plain base if not `tuned`."""
    adapter = (folder or run.paths.results / "adapters") / spec.key if tuned else None
    return load_for_inference(spec, run.settings.scale, adapter, device=device(), folder=adapted_folder(run, spec))


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

    check_safetensors(Path(folder) / "adapter_model.safetensors")
    weights = load_file(folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    scale, frames = config["lora_alpha"] / config["r"], []
    for name in sorted(n for n in weights if n.endswith("lora_A.weight")):
        a, b = (weights[n].double().numpy() for n in (name, name.replace("lora_A", "lora_B")))
        strengths = scale * np.linalg.svd(np.linalg.qr(b, mode="r") @ np.linalg.qr(a.T, mode="r").T, compute_uv=False)
        squares, place = np.square(strengths), name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        share = np.cumsum(squares) / squares.sum() if squares.any() else np.full(len(squares), np.nan)
        frame = pd.DataFrame({"direction": range(1, len(strengths) + 1), "value": strengths, "share": share})
        frames.append(frame.assign(place=place, module=place.rsplit(".", 1)[-1])[["place", "module", "direction", "value", "share"]])
    return pd.concat(frames, ignore_index=True)


def directions_needed(values: pd.DataFrame, share: float = 0.9) -> pd.Series:
    """How many directions of each place's update hold at least `share` of it (0-1), by place; NaN for an update that is zero."""
    enough = values[values["share"] >= share - 1e-12].groupby("place")["direction"].min()
    return enough.reindex(values["place"].unique())


# --- LoRA on a CPU: base, adapter and dropout of a linear layer in one step -------------------------------------------------------------
# PEFT's layer computes the same, but draws a random number for every value of its input (a fifth of a training step on a CPU), and multiplies and adds
# whole tensors where one matrix product could do it. A GPU and packed (4-bit) layers keep PEFT's own path.


def dropped(count: int, p: float):
    """Which of `count` values dropout sets to zero: sorted int64 positions, each of the values with probability `p`, independently of the others.

    The gaps between dropped values follow a geometric distribution, so only `count * p` numbers are drawn from PyTorch's generator. No rounding of `p`.
    """
    import torch

    gaps = int(count * p + 6 * math.sqrt(count * p)) + 16  # more are needed once in 10^9 times
    positions = torch.empty(gaps, dtype=torch.int64).geometric_(p).cumsum_(0).sub_(1)
    while positions[-1] < count:
        more = torch.empty(gaps, dtype=torch.int64).geometric_(p).cumsum_(0)
        positions = torch.cat([positions, positions[-1] + more])
    return positions[: int(torch.searchsorted(positions, count))]


@cache
def fused_layer():
    """The class `FusedLinear` (PyTorch and PEFT are imported late here): PEFT's LoRA layer with the step in one, its parameters, names and files the same."""
    import torch
    import torch.nn.functional as F
    from peft.tuners.lora import Linear

    class _LinearWithLora(torch.autograd.Function):
        """y = x Wᵀ + b + scale · D(x) Aᵀ Bᵀ, where D sets the values at `zeroed` (None: none) to zero. Gradients for x, A and B; W and b are frozen."""

        @staticmethod
        def forward(ctx, x, weight, bias, a, b, scale, zeroed):
            flat = x.reshape(-1, x.shape[-1])
            kept = flat if zeroed is None else flat.clone(memory_format=torch.contiguous_format)
            if zeroed is not None:
                kept.view(-1).index_fill_(0, zeroed, 0)
            inner = kept @ a.t()
            ctx.save_for_backward(kept, inner, weight, a, b, zeroed)
            ctx.scale, ctx.shape = scale, x.shape
            return F.linear(flat, weight, bias).addmm_(inner, b.t(), alpha=scale).view(*x.shape[:-1], -1)

        @staticmethod
        def backward(ctx, gradient):
            kept, inner, weight, a, b, zeroed = ctx.saved_tensors
            gradient = gradient.reshape(-1, gradient.shape[-1])
            of_inner, of_x = (gradient @ b).mul_(ctx.scale), None
            if ctx.needs_input_grad[0]:
                of_x = of_inner @ a
                if zeroed is not None:
                    of_x.view(-1).index_fill_(0, zeroed, 0)
                of_x = of_x.addmm_(gradient, weight).view(ctx.shape)
            return of_x, None, None, of_inner.t() @ kept, (inner.t() @ gradient).mul_(ctx.scale).t(), None, None

    class FusedLinear(Linear):
        """PEFT's LoRA layer with the step above for one adapter on a plain layer: the same parameters, names and files."""

        def forward(self, x, *args, **kwargs):
            if self.disable_adapters or self.merged or args or kwargs:
                return super().forward(x, *args, **kwargs)
            (name,) = self.active_adapters
            p = getattr(self.lora_dropout[name], "p", 0.0) if self.training else 0.0
            base, a, b = self.base_layer, self.lora_A[name].weight, self.lora_B[name].weight
            return _LinearWithLora.apply(x, base.weight, base.bias, a, b, self.scaling[name] / (1 - p), dropped(x.numel(), p) if p else None)

    return FusedLinear


def fuse(model) -> int:
    """Give every LoRA layer on an unpacked float32 layer of the CPU the fused step, in place. Returns: how many layers have it now."""
    import torch
    from peft.tuners.lora import Linear

    layers = [m for m in model.modules() if type(m) is Linear and m.base_layer.weight.dtype == torch.float32 and m.base_layer.weight.device.type == "cpu"]
    for layer in layers:
        layer.__class__ = fused_layer()
    return len(layers)
