"""SSF against operations with merged weights, and its initial values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.ssf import SSF, ScaleShift
from benchmark.models.backbone import Backbone
from tests.backbones import KINDS, tiny_backbone
from tests.baselines.numerics import attach, close, images, outputs


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def part(channels: int) -> ScaleShift:
    return ScaleShift(channels, 0.5, torch.Generator().manual_seed(0)).double()


def test_a_scaled_and_shifted_linear_layer_equals_the_merged_one() -> None:
    weight, bias, inputs = random(5, 7), random(5, seed=2), random(2, 3, 7, seed=3)
    after = part(5)
    scale, shift = after.scale, after.shift
    found = after(F.linear(inputs, weight, bias))
    assert torch.allclose(found, F.linear(inputs, scale[:, None] * weight, scale * bias + shift), atol=1e-14)
    late = after(F.linear(inputs, weight), bias) + bias
    assert torch.allclose(late, found, atol=1e-14), "a bias that is added later is scaled, too"


def test_gradients_are_sums_over_positions() -> None:
    output, outer, after = random(2, 3, 5), random(2, 3, 5, seed=2), part(5)
    (after(output) * outer).sum().backward()
    assert torch.allclose(after.scale.grad, (output * outer).sum((0, 1)))  # type: ignore[arg-type]
    assert torch.allclose(after.shift.grad, outer.sum((0, 1)))  # type: ignore[arg-type]


def test_the_result_has_the_precision_of_the_operation() -> None:
    after = ScaleShift(5, 0.5, torch.Generator().manual_seed(0))
    assert after(torch.ones(2, 5, dtype=torch.bfloat16)).dtype == torch.bfloat16


def merge(made: Any, plain: Backbone) -> None:
    """Merge scales and shifts into weights and biases; layers without a bias get one."""
    for name, layer in list(plain.named_modules()):
        key = name.removeprefix("vit.").replace(".", "_")
        if key not in made.backbone.ssf:
            continue
        after = made.backbone.ssf[key]
        scale, shift = after.scale.detach(), after.shift.detach()
        parent: Any = plain.get_submodule(name.rpartition(".")[0])
        layer.weight.data.mul_(scale.view(-1, *[1] * (layer.weight.ndim - 1)))
        if name.endswith("qkv") and getattr(parent, "q_bias", None) is not None:
            biases = (parent.q_bias, parent.k_bias, parent.v_bias)
            for bias, gamma, beta in zip(biases, scale.chunk(3), shift.chunk(3), strict=True):
                bias.data.mul_(gamma).add_(beta)
        else:
            bias = torch.zeros_like(shift) if layer.bias is None else layer.bias.detach()
            layer.bias = nn.Parameter(scale * bias + shift)


@pytest.mark.parametrize("kind", KINDS)
def test_scales_and_shifts_equal_merged_weights(kind: str) -> None:
    made, merged = attach(SSF(SSF.Settings(std=0.3)), tiny_backbone(kind)), tiny_backbone(kind).double()
    made.backbone.double()
    inputs = images().double()
    with torch.no_grad():
        start = merged.eval()(inputs)
        merge(made, merged)
        found = made.backbone(inputs)
        assert close(found, merged(inputs), 1e-12)
        assert not close(found, start, 0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_and_bias_has_a_scale_and_a_shift(kind: str) -> None:
    backbone = tiny_backbone(kind)
    rows = {name: len(tensor) for name, tensor in backbone.named_parameters() if name.endswith("weight")}
    made = attach(SSF(), backbone)
    assert made.trainable() == 2 * sum(rows.values())
    found = {key for key, _ in backbone.get_submodule("ssf").named_children()}
    assert found == {name.removeprefix("vit.").removesuffix(".weight").replace(".", "_") for name in rows}


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_near_the_pre_trained_model_and_without_noise_at_it(kind: str) -> None:
    start = outputs(tiny_backbone(kind).eval())
    exact = attach(SSF(SSF.Settings(std=0.0)), tiny_backbone(kind)).backbone
    # Calling EVA02's fused projection as a module adds its bias separately, which changes the rounding.
    assert close(outputs(exact), start, 1e-5 if kind == "eva02-fused" else 0.0)
    near = outputs(attach(SSF(), tiny_backbone(kind)).backbone)
    errors = [(one - other).norm() / other.norm() for one, other in zip(near, start, strict=True)]
    assert all(1e-3 < error < 0.2 for error in errors)


def test_initial_scales_and_shifts_have_the_stated_distribution() -> None:
    made = attach(SSF(), tiny_backbone("plain", depth=24))
    for name, centre in (("scale", 1.0), ("shift", 0.0)):
        values = torch.cat([getattr(after, name).detach() for after in made.backbone.ssf.children()]).double()
        count = len(values)
        assert count == (24 * 11 + 2) * 48
        assert abs(values.mean() - centre) < 5 * 0.02 / count**0.5
        assert abs(values.std() / 0.02 - 1) < 5 / (2 * count) ** 0.5
        normal = torch.distributions.Normal(centre, 0.02).cdf(values).sort().values
        assert (normal - torch.arange(1, count + 1) / count).abs().max() < 2 / count**0.5
