"""ChildTuning-F: masked gradients and the resulting AdamW updates."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from baselines.childtune_f import ChildTuneF
from benchmark.common.rng import torch_rng
from benchmark.models.backbone import Backbone
from tests.backbones import tiny_backbone


def attach(seed: int = 0, **settings: float) -> tuple[ChildTuneF, Backbone]:
    made, backbone = ChildTuneF(ChildTuneF.Settings.model_validate(settings)), tiny_backbone("dinov2")
    made.attach(backbone, torch_rng(seed, "method"))
    return made, backbone


def give(backbone: Backbone, step: int) -> dict[str, Tensor]:
    """Set non-zero gradients and return copies."""
    rng = torch.Generator().manual_seed(step)
    gradients = {}
    for name, parameter in backbone.named_parameters():
        if parameter.requires_grad:
            parameter.grad = torch.rand(parameter.shape, generator=rng) + 0.5
            gradients[name] = parameter.grad.clone()
    return gradients


def masks(made: ChildTuneF, backbone: Backbone, step: int) -> dict[str, Tensor]:
    given = give(backbone, step)
    made.before_step(step, 100)
    found = {name: backbone.get_parameter(name).grad for name in given}
    return {name: gradient.bool() for name, gradient in found.items() if gradient is not None}


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_fraction_p_of_the_gradient_is_kept_and_divided_by_p(share: float) -> None:
    made, backbone = attach(share=share)
    given = give(backbone, 0)
    made.before_step(0, 100)
    kept = 0
    for name, gradient in given.items():
        found = backbone.get_parameter(name).grad
        assert found is not None
        kept += int((found != 0).sum())
        assert torch.allclose(found[found != 0], gradient[found != 0] / share)
    total = sum(gradient.numel() for gradient in given.values())
    assert total == made.trainable()
    assert kept / total == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / total))


def test_a_mask_depends_only_on_seed_and_step() -> None:
    first, second, other = attach(), attach(), attach(seed=1)
    whole = [masks(*first, step) for step in range(6)]
    resumed = masks(*second, 5)  # a resumed run attaches again and continues
    assert all(torch.equal(resumed[name], whole[5][name]) for name in resumed)
    for strange in (masks(*other, 5), whole[4]):
        agreement = [float((strange[name] == resumed[name]).double().mean()) for name in resumed]
        assert sum(agreement) / len(agreement) == pytest.approx(0.3**2 + 0.7**2, abs=0.03)


def test_masks_of_neighbouring_steps_and_seeds_are_independent() -> None:
    made, backbone = attach()
    sums = sum(torch.cat([m.flatten() for m in masks(made, backbone, step).values()]).double() for step in range(60))
    assert isinstance(sums, Tensor)
    assert sums.mean().item() == pytest.approx(18, abs=0.1)
    assert sums.var().item() == pytest.approx(60 * 0.3 * 0.7, rel=0.05)  # variance of a binomial count


def test_adamw_sees_masked_gradients_and_decays_every_weight() -> None:
    lr, decay, (beta1, beta2), eps = 0.01, 0.1, (0.9, 0.999), 1e-8
    made, backbone = attach(lr=lr, weight_decay=decay)
    optimizer = made.optimizer((beta1, beta2), eps)
    assert optimizer is not None
    name = "vit.blocks.1.norm1.weight"
    parameter = backbone.get_parameter(name)
    weights = parameter.detach().double().tolist()
    m, v = [0.0] * len(weights), [0.0] * len(weights)
    moved_by_momentum = 0
    for step in range(4):
        given = give(backbone, step)[name].tolist()
        made.before_step(step, 100)
        assert parameter.grad is not None
        survives = (parameter.grad != 0).tolist()
        optimizer.step()
        for i, (gradient, chosen) in enumerate(zip(given, survives, strict=True)):
            g = gradient / 0.3 if chosen else 0.0
            moved_by_momentum += not chosen and m[i] != 0
            m[i] = beta1 * m[i] + (1 - beta1) * g
            v[i] = beta2 * v[i] + (1 - beta2) * g * g
            weights[i] -= lr * decay * weights[i]
            weights[i] -= lr * (m[i] / (1 - beta1 ** (step + 1))) / (math.sqrt(v[i] / (1 - beta2 ** (step + 1))) + eps)
        assert torch.allclose(parameter.double(), torch.tensor(weights, dtype=torch.float64), atol=1e-6)
    assert moved_by_momentum > 10
