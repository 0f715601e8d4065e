"""What a machine can hold: the memory of a training, counted before anything is downloaded, and the choices that follow from it.

Source of the arithmetic: NF4 with double quantization takes 4 + 8/64 + 32/(64 * 256) bits a weight (QLoRA, section 3); embeddings, LM head and norms
are held in 32 bits (`prepare_model_for_kbit_training`); an adapter's weight costs 4 bytes, its gradient 4, its two optimizer states 1 each
(`paged_adamw_8bit`); with gradient checkpointing one hidden state a layer is kept, and one layer is recomputed at a time.
"""

import time
from dataclasses import dataclass, replace
from typing import Self

from ..config import TrainSpec
from ..registry import ModelSpec
from .loading import empty_model, lora_layers
from .weights import Unavailable, is_twin

GB = 1e9
NF4_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8
ROW_TOKENS, ANSWER_TOKENS = 512, 128  # a long row with a hub tokenizer; the mean is far below
LAYER_STATES = 34  # hidden-sized 16-bit values a token kept by one block for its backward pass
CPU_ROW, CPU_PREFIX, CPU_ANSWER = 55, 65, 45  # tokens of a row of the embedded data with a hub tokenizer, of a persona's prefix, of its answer
CPU_ROWS_A_PERSON = 4  # rows of a batch of 16 that share a prefix
CPU_STATES = 43  # hidden-sized 32-bit values a token kept by one block for its backward pass on a CPU (measured: .20 GB a layer at 1,860 tokens)
CPU_OTHER = 1.1 * GB  # Python, libraries and data
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
        bf16 = cuda and torch.cuda.is_bf16_supported(including_emulation=False)
        return cls(gpu, torch.cuda.device_count() if cuda else 0, bf16, psutil.virtual_memory().available)


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
        each = cpu_bytes(spec, scale, recipe)
        if machine.ram < each * recipe.processes:
            recipe = replace(recipe, processes=1, accumulation=recipe.accumulation * recipe.processes)
        takes = each * recipe.processes
        shape = f"{recipe.micro_batch} rows at once x {recipe.accumulation}" + (f" in each of {recipe.processes} processes" if recipe.processes > 1 else "")
        line = f"{spec.parameters / 1e6:.0f} M parameters on the CPU, {shape}, about {takes / GB:.1f} GB"
        if machine.ram < takes:
            raise DoesNotFit(f"{spec.display}: {line}, and {machine.ram / GB:.1f} GB of memory are free; close other programs")
        return recipe, f"{spec.key}: {line}"
    if not machine.gpu:
        raise DoesNotFit(f"{spec.display}: needs a CUDA GPU with {need.total(1) / GB:.1f} GB ({need.sum_line(1)}); none was found")
    room, effective = 0.94 * machine.gpu, recipe.micro_batch * recipe.accumulation * recipe.processes
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


# --- a real model on a CPU ----------------------------------------------------------------------------------------------------------


def cpu_bytes(spec: ModelSpec, scale: str, recipe: TrainSpec) -> float:
    """Memory that training on a CPU takes: the base in 32 bits, the adapter with gradients and AdamW's states, what a batch keeps for its backward pass."""
    config = empty_model(spec, scale).config
    positions = recipe.micro_batch * (CPU_ROW + CPU_ANSWER + CPU_PREFIX / (CPU_ROWS_A_PERSON if recipe.shared_prefix else 1))
    wide = config.hidden_size * CPU_STATES * config.num_hidden_layers
    logits = recipe.micro_batch * CPU_ANSWER * config.vocab_size * 3
    trained = recipe.r * sum(m.in_features + m.out_features for m in lora_layers(empty_model(spec, scale), spec).values())
    return CPU_OTHER + 4 * (spec.parameters + 4 * trained + positions * wide + logits)


def seconds_a_step(spec: ModelSpec, scale: str, recipe: TrainSpec, *, layers: tuple[int, int] = (1, 4)) -> float:
    """How long one optimizer step of this recipe takes here: measured on models of the same shape with few layers, and carried on to all of them.

    Weights are random and nothing is downloaded or read from a GGUF file; it takes a few seconds. Of several processes one is measured, with its share
    of the threads.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // recipe.processes))
    try:
        few, more = (_timed_step(spec, scale, recipe, count) for count in layers)
    finally:
        torch.set_num_threads(threads)
    each = max(0.0, (more - few) / (layers[1] - layers[0]))
    return recipe.accumulation * (few + (empty_model(spec, scale).config.num_hidden_layers - layers[0]) * each)


def _timed_step(spec: ModelSpec, scale: str, recipe: TrainSpec, layers: int) -> float:
    """Seconds of one micro-batch, forward and backward, of the model cut to so many layers (the faster of two runs after a first one)."""
    import torch
    from transformers import AutoModelForCausalLM

    from ..prompts.chat import Encoded
    from .adapters import add_lora
    from .shared_prefix import answer_logits

    config = empty_model(spec, scale).config
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").float().requires_grad_(False)
    model = add_lora(model, spec, r=recipe.r, alpha=recipe.alpha, dropout=recipe.dropout, seed=0).train()
    people = [[person + 1] * CPU_PREFIX for person in range(recipe.micro_batch)]
    rows = [Encoded(people[i // CPU_ROWS_A_PERSON], [5] * CPU_ROW, [7] * CPU_ANSWER) for i in range(recipe.micro_batch)]
    times = []
    for _ in range(3):
        began = time.perf_counter()
        logits, targets = answer_logits(model, rows, 0, shared=recipe.shared_prefix)
        torch.nn.functional.cross_entropy(logits.float(), targets).backward()
        times.append(time.perf_counter() - began)
    return min(times[1:])
