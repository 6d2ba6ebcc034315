"""The class-agnostic objective."""

from __future__ import annotations

import math

import torch

from benchmark.pretrain.batches import Batch
from benchmark.pretrain.objective import WEIGHTS, DenseHeads, dense_losses, total

MATERIALS = 6


def batch(material: int, known: bool) -> Batch:
    value = 0.25 if known else math.nan
    shape = (2, 8, 12)
    normal = torch.zeros(2, 3, 8, 12)
    normal[:, 2] = float(known)
    return Batch(
        images=torch.zeros(2, 3, 32, 48),
        material=torch.full(shape, material if known else 255),
        depth=torch.full(shape, value),
        normal=normal,
        edge=torch.full(shape, 1.0 if known else math.nan),
        extent=torch.full((2, 4, 8, 12), value),
    )


def perfect(material: int) -> dict[str, torch.Tensor]:
    logits = torch.full((2, MATERIALS, 8, 12), -50.0)
    logits[:, material] = 50.0
    towards = torch.zeros(2, 3, 8, 12)
    towards[:, 2] = 3.0
    flat = torch.full((2, 4, 8, 12), 0.25)
    return {"material": logits, "depth": flat[:, :1], "normal": towards, "edge": 50 * flat[:, :1], "extent": flat}


def test_losses_are_zero_for_perfect_maps_and_positive_for_wrong_ones() -> None:
    weights = torch.ones(MATERIALS)
    losses = dense_losses(perfect(3), batch(3, known=True), weights)
    assert set(losses) == set(WEIGHTS)
    assert all(abs(float(loss)) < 1e-4 for loss in losses.values())
    wrong = {name: value.roll(1, 1) if value.shape[1] > 1 else -value for name, value in perfect(3).items()}
    wrong["extent"] = wrong["extent"] + 1
    assert all(float(loss) > 0.3 for loss in dense_losses(wrong, batch(3, known=True), weights).values())


def test_unknown_targets_give_zero_loss_and_finite_gradients() -> None:
    maps = {name: value.clone().requires_grad_() for name, value in perfect(3).items()}
    loss = total(dense_losses(maps, batch(3, known=False), torch.ones(MATERIALS)))
    loss.backward()
    assert loss == 0
    assert all(v.grad is not None and torch.isfinite(v.grad).all() for v in maps.values())


def test_heads_predict_stride_four_maps_from_every_block_output() -> None:
    torch.manual_seed(0)
    heads = DenseHeads(24, levels=2, materials=MATERIALS)
    features = [torch.randn(2, 24, 2, 3, requires_grad=True) for _ in range(2)]
    joint, single = heads(features, 1)
    assert {name: tuple(v.shape) for name, v in joint.items()} == {
        "material": (2, MATERIALS, 8, 12),
        "depth": (2, 1, 8, 12),
        "normal": (2, 3, 8, 12),
        "edge": (2, 1, 8, 12),
        "extent": (2, 4, 8, 12),
    }
    weights = torch.ones(MATERIALS)
    total(dense_losses(single, batch(3, known=True), weights)).backward()
    assert features[0].grad is None
    total(dense_losses(heads(features, 1)[0], batch(3, known=True), weights)).backward()
    assert all(f.grad is not None and f.grad.abs().sum() > 0 for f in features)


def test_a_pixel_of_a_map_depends_on_the_token_at_its_position_only() -> None:
    heads = DenseHeads(24, levels=1, materials=MATERIALS)
    features = torch.randn(1, 24, 2, 3)
    before = heads([features], 0)[1]["depth"]
    features[..., 1, 2] += torch.randn(24)
    changed = (heads([features], 0)[1]["depth"] != before)[0, 0]
    assert changed[4:, 8:].all()
    assert not changed[:4].any()
    assert not changed[:, :8].any()
