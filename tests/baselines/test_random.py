"""The random choice: even over candidates, from its own stream, within its groups."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from baselines.random import Random
from benchmark.common.errors import UserError
from benchmark.method import candidates
from benchmark.models.backbone import Backbone
from tests.backbones import tiny_backbone
from tests.baselines.numerics import attach


def chosen(made: Random, backbone: Backbone) -> dict[str, Tensor]:
    optimizer = made.optimizer((0.9, 0.999), 1e-8)
    return {c.name: optimizer.selected(c.parameter) for c in candidates(backbone)}


def test_random_spreads_evenly_over_candidates_and_follows_its_stream() -> None:
    backbone = tiny_backbone("dinov2")
    masks = chosen(attach(Random(), backbone), backbone)
    share = sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
    for mask in masks.values():
        deviation = math.sqrt(share * (1 - share) / mask.numel())
        assert mask.float().mean().item() == pytest.approx(share, abs=5 * deviation)
    again = chosen(attach(Random(), tiny_backbone("dinov2")), tiny_backbone("dinov2"))
    other = chosen(attach(Random(), backbone, seed=1), backbone)
    assert again.keys() == masks.keys()
    assert any(not torch.equal(masks[name], other[name]) for name in masks)


def test_random_keeps_to_its_groups() -> None:
    backbone = tiny_backbone("dinov2")
    made = attach(Random(Random.Settings(groups=("k",))), backbone)
    optimizer = made.optimizer((0.9, 0.999), 1e-8)
    for candidate in candidates(backbone):
        mask = candidate.share(optimizer.selected(candidate.parameter)) if candidate.group != "ffn" else None
        assert mask is None or bool(mask.any()) == (candidate.group == "k")
    with pytest.raises(UserError, match=r"random: share 0\.9 of backbone 'tiny-dinov2' .* but q hold 6,912"):
        attach(Random(Random.Settings(groups=("q",), share=0.9)), backbone)
