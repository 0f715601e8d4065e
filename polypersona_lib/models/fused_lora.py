"""LoRA on a CPU: base, adapter and dropout of a linear layer in one step. Importing this module imports PyTorch and PEFT: import it inside functions.

PEFT's layer computes the same, but draws a random number for every value of its input (a fifth of a training step on a CPU), and multiplies and adds
whole tensors where one matrix product could do it. A GPU and packed (4-bit) layers keep PEFT's own path.
"""

import math

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear


def dropped(count: int, p: float) -> torch.Tensor:
    """Which of `count` values dropout sets to zero: sorted int64 positions, each of the values with probability `p`, independently of the others.

    The gaps between dropped values follow a geometric distribution, so only `count * p` numbers are drawn from PyTorch's generator. No rounding of `p`.
    """
    gaps = int(count * p + 6 * math.sqrt(count * p)) + 16  # more are needed once in 10^9 times
    positions = torch.empty(gaps, dtype=torch.int64).geometric_(p).cumsum_(0).sub_(1)
    while positions[-1] < count:
        more = torch.empty(gaps, dtype=torch.int64).geometric_(p).cumsum_(0)
        positions = torch.cat([positions, positions[-1] + more])
    return positions[: int(torch.searchsorted(positions, count))]


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


def fuse(model) -> int:
    """Give every LoRA layer on an unpacked float32 layer of the CPU the fused step, in place. Returns: how many layers have it now."""
    layers = [m for m in model.modules() if type(m) is Linear and m.base_layer.weight.dtype == torch.float32 and m.base_layer.weight.device.type == "cpu"]
    for layer in layers:
        layer.__class__ = FusedLinear
    return len(layers)
