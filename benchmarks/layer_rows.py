"""LoRA's layers alone, forward and backward, beside PEFT's own."""

from __future__ import annotations

from pathlib import Path

from .measuring import Check, Comparison, Contender, largest_difference

DROPOUT = 0.05
LAYERS = {"q_proj": (576, 576), "up_proj": (576, 1536), "down_proj": (1536, 576)}  # of SmolLM2: inputs, outputs
POSITIONS = 1908  # that one of our steps of SmolLM2 runs over


def lora_layer(*, small: bool, folder: Path) -> Comparison:
    """LoRA's layers in SmolLM2's sizes, forward and backward, beside PEFT's."""
    import torch

    from polypersona_lib.models.adapters import fuse

    positions = 64 if small else POSITIONS
    inputs = {name: torch.randn(positions, size, generator=torch.Generator().manual_seed(1)) for name, (size, _) in LAYERS.items()}
    models = {"ours": _layers(), "PEFT": _layers()}
    fuse(models["ours"])

    def run(model) -> dict:
        model.zero_grad()
        values = {}
        for name, given in inputs.items():
            x = given.clone().requires_grad_(True)
            out = model.base_model.model[name](x)
            out.square().mean().backward()
            values |= {f"{name} output": out.detach(), f"{name} gradient of the input": x.grad}
        return values | {n: p.grad for n, p in model.named_parameters() if p.grad is not None}

    def without_dropout(model) -> dict:
        dropouts = [module for module in model.modules() if isinstance(module, torch.nn.Dropout)]
        for module in dropouts:
            module.p = 0.0
        values = {name: value.clone() for name, value in run(model).items()}
        for module in dropouts:
            module.p = DROPOUT
        return values

    def gate(answers: dict) -> list[Check]:
        ours, peft = answers["ours"], answers["PEFT"]
        gaps = [float((ours[n] - peft[n]).norm() / peft[n].norm()) for n in peft] if ours.keys() == peft.keys() else [float("inf")]
        gap = largest_difference(gaps, [0.0] * len(gaps))
        return [Check(f"outputs and {len(peft) - len(LAYERS)} gradients without dropout, relative", gap, 1e-5)]

    contenders = [
        Contender(name=name, work=lambda m=model: run(m), answer=lambda m=model: without_dropout(m), goal=None if name == "ours" else 1.5,
                  real=positions, computed=positions)
        for name, model in models.items()
    ]  # fmt: skip
    return Comparison(title=f"LoRA layers {', '.join(LAYERS)} of SmolLM2 on {positions:,} positions, dropout {DROPOUT}", contenders=contenders, gate=gate)


def _layers():
    """The three linear layers with PEFT's LoRA (r = 16, B not zero), in training mode; the same weights at every call."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(5)
    plain = torch.nn.ModuleDict({name: torch.nn.Linear(*sizes, bias=False) for name, sizes in LAYERS.items()})
    model = get_peft_model(plain, LoraConfig(r=16, lora_alpha=32, lora_dropout=DROPOUT, target_modules=list(LAYERS)))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model.train()
