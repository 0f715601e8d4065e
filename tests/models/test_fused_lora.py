"""LoRA's fused step on a CPU: what PEFT's own layer computes, the dropout's distribution, and files that PEFT reads."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import Linear
from scipy import stats

from polypersona_lib import paths, registry
from polypersona_lib.models import adapters, loading
from polypersona_lib.models.adapters import dropped, fuse, fused_layer
from polypersona_lib.training.batches import answer_loss, encode_rows, validation_loss
from polypersona_lib.world.dataset import read_split


def _adapted(key: str, *, dropout: float):
    """A twin with an adapter whose B is not zero, on unpacked weights."""
    spec = registry.get_spec(key)
    model = adapters.add_lora(loading.unpacked(loading.load_base(spec, "nano")), spec, r=16, alpha=32, dropout=dropout, seed=1)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in sorted(model.named_parameters()):
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.02
    return model.train()


def _with_pefts_own_path(model):
    """The same model, its layers PEFT's."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if type(module) is fused_layer():
            module.__class__ = Linear
    return model


def _rows(key: str, count: int):
    tokenizer = loading.load_tokenizer(registry.get_spec(key), "nano")
    return encode_rows(tokenizer, read_split(paths.DATASET / "paper", "train").head(count)), tokenizer.pad_token_id


def _gradients(model, loss) -> dict:
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("key", registry.MODELS)
def test_without_dropout_loss_and_gradients_are_those_of_peft(key):
    """In 64 bits nearly equal, in 32 bits up to the rounding of sums in another order."""
    fused, (rows, pad_id) = _adapted(key, dropout=0.0), _rows(key, 4)
    own = _with_pefts_own_path(fused)
    for each in (3e-6, 1e-9):
        losses = [answer_loss(m, rows, pad_id, shared=True) for m in (fused, own)]
        assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
        new, old = (_gradients(m, loss) for m, loss in zip((fused, own), losses, strict=True))
        assert new.keys() == old.keys() and len(new) >= 2 * 3 * 7 and all("lora_" in name for name in new)
        assert all((new[name] - old[name]).norm() <= each * old[name].norm() for name in new)
        assert sum((new[n] - old[n]).square().sum() for n in new) ** 0.5 <= 1e-6 * sum(old[n].square().sum() for n in new) ** 0.5
        fused.double(), own.double()


def _layer(p: float, *, bias: bool = True):
    """A fused layer of 24 to 40 values, in 64 bits where the rounding of 32 would hide a fault."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(5)
    model = get_peft_model(torch.nn.Sequential(torch.nn.Linear(24, 40, bias=bias)), LoraConfig(r=4, lora_alpha=8, lora_dropout=p, target_modules=["0"]))
    assert fuse(model) == 1
    layer = model.base_model.model[0].double().train()
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    return layer


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_with_dropout_is_the_written_out_formula(bias):
    """The same dropped values in plain operations: output, and gradients of x, A and B."""
    layer, x = _layer(0.3, bias=bias), torch.randn(3, 7, 24, dtype=torch.float64).transpose(0, 1).requires_grad_()
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    torch.manual_seed(9)
    new = layer(x)
    torch.manual_seed(9)
    keep = torch.ones(x.numel(), dtype=torch.float64)
    keep[dropped(x.numel(), 0.3)] = 0
    assert 0 < keep.mean() < 1
    old = layer.base_layer(x) + (x * keep.view(x.shape) / 0.7) @ a.t() @ b.t() * 2
    weights = torch.randn_like(old)
    torch.testing.assert_close(new, old, rtol=1e-12, atol=1e-12)
    for one, other in zip(*(torch.autograd.grad((y * weights).sum(), (x, a, b)) for y in (new, old)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("p", [0.05, 0.5])
def test_every_value_is_dropped_with_probability_p_and_independently(p):
    """Counts by place are binomial, and pairs of neighbours, of rows and of two calls coincide as often as independent ones do."""
    torch.manual_seed(1)
    count, times = 400, 6000
    drops = np.zeros((times, count))
    for row in drops:
        positions = dropped(count, p).numpy()
        assert (np.diff(positions) > 0).all() and (len(positions) == 0 or 0 <= positions[0] and positions[-1] < count)
        row[positions] = 1
    z = (drops.sum(0) - times * p) / np.sqrt(times * p * (1 - p))
    assert stats.kstest(z, "norm").pvalue > 1e-4 and abs(drops.mean() - p) < 5 * np.sqrt(p * (1 - p) / drops.size)
    variance = p * (1 - p)
    for one, other in ((drops[:, :-1], drops[:, 1:]), (drops[:, :-24], drops[:, 24:]), (drops[:-1], drops[1:])):
        assert abs(((one - p) * (other - p)).mean()) < 5 * variance / np.sqrt(one.size)


def test_draws_that_do_not_reach_the_end_go_on(monkeypatch):
    """Six standard deviations are nearly always enough; here the first gaps are all 1 and end after a few values."""
    calls, real = [], torch.Tensor.geometric_

    def geometric(tensor, p):
        calls.append(len(tensor))
        return tensor.fill_(1) if len(calls) < 3 else real(tensor, p)

    monkeypatch.setattr(torch.Tensor, "geometric_", geometric)
    positions = dropped(1000, 0.05)
    assert len(calls) >= 3 and positions[: 2 * calls[0]].tolist() == list(range(2 * calls[0]))
    assert positions[-1] < 1000 and len(positions.unique()) == len(positions)


def test_modules_on_the_same_input_drop_different_values_and_a_seed_fixes_them():
    model, (rows, pad_id) = _adapted("tinyllama-1.1b", dropout=0.05), _rows("tinyllama-1.1b", 4)

    def losses():
        torch.manual_seed(3)
        return answer_loss(model, rows, pad_id, shared=True)

    first, again, other = _gradients(model, losses()), _gradients(model, losses()), _gradients(model, answer_loss(model, rows, pad_id, shared=True))
    assert all(torch.equal(first[n], again[n]) for n in first) and any(not torch.equal(first[n], other[n]) for n in first)
    layer = model.base_model.model.model.layers[0].self_attn
    x = torch.ones(1, 50, 128)
    seen = [projection(x).grad_fn.saved_tensors[0] == 0 for projection in (layer.q_proj, layer.k_proj, layer.v_proj)]  # the first saved tensor is D(x)
    assert all(0.03 < zeros.float().mean() < 0.07 for zeros in seen)
    assert (seen[0] & seen[1]).float().mean() < 0.006 and (seen[1] & seen[2]).float().mean() < 0.006


def test_evaluation_drops_nothing_and_draws_nothing():
    model, (rows, pad_id) = _adapted("phi-2", dropout=0.5), _rows("phi-2", 4)
    state = torch.get_rng_state()
    assert validation_loss(model, rows, pad_id) == validation_loss(model, rows, pad_id)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("key", ["phi-2", "qwen1.5-moe"])
def test_a_fused_adapter_is_a_plain_peft_adapter(key, tmp_path):
    """Saved, it loads into PEFT's own classes, answers the same, can be switched off, and merges."""
    fused, (rows, pad_id) = _adapted(key, dropout=0.05).eval(), _rows(key, 4)
    adapters.save_adapter(fused, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".md") == ["adapter_config.json", "adapter_model.safetensors"]
    own = adapters.with_adapter(loading.unpacked(loading.load_base(registry.get_spec(key), "nano")), tmp_path)
    assert isinstance(own, PeftModel) and not any(isinstance(m, fused_layer()) for m in own.modules())
    expected = validation_loss(own, rows, pad_id)
    assert validation_loss(fused, rows, pad_id) == pytest.approx(expected, rel=1e-6)
    with fused.disable_adapter(), own.disable_adapter():
        assert validation_loss(fused, rows, pad_id) == validation_loss(own, rows, pad_id) != expected
    assert validation_loss(fused.merge_and_unload(), rows, pad_id) == pytest.approx(expected, rel=1e-5)


def test_packed_layers_keep_pefts_path_and_unpacked_ones_do_not():
    spec = registry.get_spec("tinyllama-1.1b")
    packed = adapters.add_lora(loading.load_base(spec, "nano"), spec, r=16, alpha=32, dropout=0.05, seed=1)
    assert fuse(packed) == 0 and not any(isinstance(m, fused_layer()) for m in packed.modules())
    assert sum(isinstance(m, fused_layer()) for m in _adapted("tinyllama-1.1b", dropout=0.05).modules()) == 28
