"""DoRA against its formula in float64: outputs, merged weights, and gradients with and without a constant norm."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.dora import DoRA
from baselines.lora import LoRA
from tests.backbones import tiny_backbone
from tests.baselines.numerics import attach, close, images, outputs

KINDS = ["plain", "dinov2", "eva02", "eva02-fused", "dinov3", "sam"]
SCALE = 6.0 / 4


def attached(kind: str) -> Any:
    return attach(DoRA(DoRA.Settings(rank=4, alpha=6.0)), tiny_backbone(kind).double())


def parts(layer: Any) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(getattr(layer, f"lora_{part}")["default"].weight for part in ("A", "B", "magnitude_vector"))


def trained(made: Any) -> None:
    """Move every trainable parameter, B and magnitudes included."""
    rng = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for group in made.parameter_groups():
            for parameter in group["params"]:
                parameter += 0.3 * torch.randn(parameter.shape, generator=rng)


def reweighted(weight: Tensor, a: Tensor, b: Tensor, magnitude: Tensor, constant: bool) -> Tensor:
    """Return W′, row by row; ``constant``: the backward pass treats the norms as constants."""
    rows = []
    for row, delta, length in zip(weight, SCALE * b @ a, magnitude, strict=True):
        norm = (row + delta).square().sum().sqrt()
        rows.append(length * (row + delta) / (norm.detach() if constant else norm))
    return torch.stack(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_dora_equals_merged_weights(kind: str) -> None:
    made, merged = attached(kind), tiny_backbone(kind).double()
    inputs = images().double()
    with torch.no_grad():
        start = merged.eval()(inputs)
        assert close(made.backbone(inputs), start, 1e-12), "at the start, W′ = W"
        trained(made)
        for name, layer in made._layers.items():
            weight = merged.get_submodule(name).get_parameter("weight")
            weight.copy_(reweighted(weight, *parts(layer), constant=True))
        found = made.backbone(inputs)
        assert close(found, merged(inputs), 1e-12)
        assert not close(found, start, 1e-2)


def test_magnitudes_start_as_the_norm_of_each_row_and_are_the_norms_of_the_trained_weights() -> None:
    made = attached("plain")
    weights = {name: layer.base_layer.weight for name, layer in made._layers.items()}
    assert len(weights) == 3
    for name, layer in made._layers.items():
        assert torch.allclose(parts(layer)[2], weights[name].square().sum(1).sqrt(), atol=1e-14)
    trained(made)
    for name, layer in made._layers.items():
        a, b, magnitude = parts(layer)
        norms = reweighted(weights[name], a, b, magnitude, constant=True).norm(dim=1)
        assert torch.allclose(norms, magnitude.abs(), atol=1e-14)


@pytest.mark.parametrize("kind", ["plain", "eva02"])
def test_gradients_treat_the_norm_as_a_constant(kind: str) -> None:
    made = attached(kind)
    trained(made)
    layer = next(iter(made._layers.values()))
    weight, bias = layer.base_layer.weight, layer.base_layer.bias
    rng = torch.Generator().manual_seed(5)
    inputs, outer = (torch.randn(7, width, generator=rng, dtype=torch.float64) for width in (48, len(weight)))
    found = torch.autograd.grad((layer(inputs) * outer).sum(), parts(layer))
    for constant in (True, False):
        formula = F.linear(inputs, reweighted(weight, *parts(layer), constant), bias)
        wanted = torch.autograd.grad((formula * outer).sum(), parts(layer))
        same = [torch.allclose(one, other, atol=1e-11) for one, other in zip(found, wanted, strict=True)]
        assert same == [constant, constant, True], "the gradient of m does not depend on it"


def test_a_float32_backbone_starts_bit_identical_to_the_pre_trained_one() -> None:
    start = outputs(tiny_backbone("dinov2").eval())
    made = attach(DoRA(), tiny_backbone("dinov2"))
    assert close(outputs(made.backbone), start, 0.0)


def test_a_starts_as_in_lora_and_detaching_removes_the_magnitudes() -> None:
    backbone = tiny_backbone("eva02-fused")
    names = [name for name, _ in backbone.named_parameters()]
    made, lora = attach(DoRA(), backbone), attach(LoRA(), tiny_backbone("eva02-fused"))
    for name, layer in made._layers.items():
        assert torch.equal(parts(layer)[0], lora._layers[name].lora_A["default"].weight)
    assert made.trainable() - lora.trainable() == 3 * 3 * 48
    made.detach()
    assert not any(block.get_submodule("attn").qkv_bias_separate for block in backbone.blocks)
    assert [name for name, _ in backbone.named_parameters()] == names


def test_dropout_acts_in_training_on_the_low_rank_term_only() -> None:
    backbone = tiny_backbone("dinov2", drop_path_rate=0.5, proj_drop_rate=0.5)
    made = attach(DoRA(DoRA.Settings(dropout=0.5)), backbone)
    start = outputs(backbone)
    made.train_mode()
    assert close(outputs(backbone), start, 1e-6), "B = 0 and m = ‖W‖ hide dropout; drop path would show"
    trained(made)
    assert not torch.equal(outputs(backbone)[-1], outputs(backbone)[-1])
    backbone.eval()
    assert torch.equal(outputs(backbone)[-1], outputs(backbone)[-1])
