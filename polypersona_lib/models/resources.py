"""What a machine can hold: the memory of a training, counted before anything is downloaded, and the choices that follow from it.

Source of the arithmetic: NF4 with double quantization takes 4 + 8/64 + 32/(64 * 256) bits a weight (QLoRA, section 3); embeddings, LM head and norms
are held in 32 bits (`prepare_model_for_kbit_training`); an adapter's weight costs 4 bytes, its gradient 4, its two optimizer states 1 each
(`paged_adamw_8bit`); with gradient checkpointing one hidden state a layer is kept, and one layer is recomputed at a time.
"""

from dataclasses import dataclass, replace
from typing import Self

from ..config import TrainSpec
from ..registry import ModelSpec
from .loading import empty_model, lora_layers
from .weights import Unavailable, is_twin

GB = 1e9
NF4_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8
ROW_TOKENS, ANSWER_TOKENS = 512, 128  # a long row with a hub tokenizer; the mean is far below
LAYER_STATES = 34  # hidden-sized 16-bit values a token that one block keeps for its backward pass
ON_A_CPU = 5e8  # the most parameters of a model that is trained without a GPU (hours for the paper's recipe)
CONTEXT = 1.2 * GB  # CUDA itself, workspaces, fragmentation


class DoesNotFit(Unavailable):
    """A training that this machine cannot hold: one line with the arithmetic."""


@dataclass(frozen=True)
class Machine:
    """What a machine has: one GPU's memory in bytes (0: none), how many GPUs, whether they know BF16, and free main memory in bytes."""

    gpu: int
    gpus: int
    bf16: bool
    ram: int

    @classmethod
    def here(cls) -> Self:
        """This machine."""
        import psutil
        import torch

        cuda = torch.cuda.is_available()
        gpu = min(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())) if cuda else 0
        return cls(gpu, torch.cuda.device_count() if cuda else 0, cuda and torch.cuda.is_bf16_supported(), psutil.virtual_memory().available)


@dataclass(frozen=True)
class Budget:
    """Bytes that a training takes. `loading` is the peak while the weights arrive, `rows` what one row of a batch adds."""

    weights: float
    adapter: float
    rows: float
    loading: float

    def total(self, micro_batch: int) -> float:
        """Peak while training with this many rows at once."""
        return CONTEXT + self.weights + self.adapter + micro_batch * self.rows

    def sum_line(self, micro_batch: int) -> str:
        """The arithmetic in words."""
        parts = {"CUDA": CONTEXT, "weights": self.weights, "adapter with gradients and optimizer": self.adapter, f"{micro_batch} rows": micro_batch * self.rows}
        return " + ".join(f"{size / GB:.1f} {name}" for name, size in parts.items()) + f" = {self.total(micro_batch) / GB:.1f} GB"


def budget(spec: ModelSpec, scale: str, *, r: int, method: str = "qlora", checkpointing: bool = True) -> Budget:
    """Memory of one training. `method`: "qlora" (4-bit base), "lora" (16 bits) or "full" (16-bit weights and gradients, 32-bit master copy, two states)."""
    model = empty_model(spec, scale)
    config = model.config
    layers = lora_layers(model, spec)
    inside = sum(m.weight.numel() for m in layers.values())
    total = sum(p.numel() for p in model.parameters())
    trained = sum(r * (m.in_features + m.out_features) for m in layers.values())
    routed = sum(m.weight.numel() for n, m in layers.items() if ".experts." in n)
    weights = {"qlora": inside * NF4_BYTES + (total - inside) * 4, "lora": total * 2, "full": total * (2 + 2 + 4 + 8)}[method]
    states = ROW_TOKENS * config.hidden_size * 2
    kept = config.num_hidden_layers * states + LAYER_STATES * states if checkpointing else config.num_hidden_layers * LAYER_STATES * states
    logits = ANSWER_TOKENS * config.vocab_size * 4 * 3
    return Budget(weights, 0 if method == "full" else trained * (4 + 4 + 2), kept + logits, weights + routed * 2 if method == "qlora" else weights)


def fit_recipe(spec: ModelSpec, scale: str, recipe: TrainSpec, machine: Machine) -> tuple[TrainSpec, str]:
    """The recipe with the largest micro-batch that fits this machine, the effective batch unchanged, and a line that says what was chosen and why.

    A nano twin keeps the recipe as it is. Raises: DoesNotFit with the arithmetic if not even one row fits, or if there is no GPU for a hub model.
    """
    if is_twin(spec, scale):
        return recipe, f"{spec.key}: nano twin, {recipe.micro_batch} rows at once x {recipe.accumulation}; fits anywhere"
    need = budget(spec, scale, r=recipe.r)
    if not machine.gpu and 0 < spec.parameters <= ON_A_CPU:
        return recipe, f"{spec.key}: {spec.parameters / 1e6:.0f} M parameters on the CPU, {recipe.micro_batch} rows at once x {recipe.accumulation}"
    if not machine.gpu:
        raise DoesNotFit(f"{spec.display}: needs a CUDA GPU with {need.total(1) / GB:.1f} GB ({need.sum_line(1)}); none was found")
    room, effective = 0.94 * machine.gpu, recipe.micro_batch * recipe.accumulation
    if need.loading + CONTEXT > room:
        apart = f" + {(need.loading - need.weights) / GB:.1f} experts in 16 bits on their way there" if need.loading > need.weights else ""
        sum_line = f"{CONTEXT / GB:.1f} CUDA + {need.weights / GB:.1f} weights{apart} = {(need.loading + CONTEXT) / GB:.1f} GB"
        raise DoesNotFit(f"{spec.display}: cannot be loaded: {sum_line}, {room / GB:.1f} GB are usable")
    sizes = [n for n in range(effective, 0, -1) if effective % n == 0 and need.total(n) <= room]
    if not sizes:
        raise DoesNotFit(f"{spec.display}: not even one row at once fits: {need.sum_line(1)}, {room / GB:.1f} GB are usable")
    micro = min(max(sizes), recipe.micro_batch)
    processes = max(n for n in range(1, machine.gpus + 1) if effective % (micro * n) == 0)
    precision = "BF16" if machine.bf16 else "FP32 (Phi-2 overflows in FP16)" if spec.architecture == "phi" else "FP16"
    chosen = replace(recipe, micro_batch=micro, accumulation=effective // micro // processes, processes=processes)
    cards = f" x {processes} GPUs" if processes > 1 else ""
    return chosen, (
        f"{spec.key}: {micro} rows at once x {chosen.accumulation}{cards} (effective batch {effective}), 4-bit NF4 base, {precision}, gradient checkpointing: "
        f"{need.sum_line(micro)} of {room / GB:.1f} GB usable"
    )
