"""Random selection: uniform over candidates, from its own RNG stream, within the given groups."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from baselines.random import Random
from benchmark.common.errors import UserError
from benchmark.method import Group, candidates
from benchmark.models.backbone import Backbone
from tests.backbones import tiny_backbone
from tests.baselines.numerics import attach


def chosen(made: Random, backbone: Backbone) -> dict[str, Tensor]:
    optimizer = made.optimizer((0.9, 0.999), 1e-8)
    return {c.name: optimizer.selected(c.parameter) for c in candidates(backbone)}


def test_random_is_uniform_over_candidates_and_depends_on_its_seed() -> None:
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


@pytest.mark.parametrize("group", ["q", "k", "v"])
@pytest.mark.parametrize("kind", ["dinov2", "eva02", "eva02-fused", "sam"])
def test_random_selects_only_from_its_groups(kind: str, group: Group) -> None:
    backbone = tiny_backbone(kind)
    made = attach(Random(Random.Settings(groups=(group,))), backbone)
    optimizer = made.optimizer((0.9, 0.999), 1e-8)
    for candidate in candidates(backbone):
        mask = candidate.share(optimizer.selected(candidate.parameter))
        assert bool(mask.any()) == (candidate.group == group)
    total = sum(int(optimizer.selected(each).sum()) for each in optimizer.param_groups[0]["params"])
    assert total == made.trainable() == round(0.05 * sum(each.numel() for each in backbone.parameters()))


def test_more_weights_than_the_groups_have_are_refused() -> None:
    with pytest.raises(UserError, match=r"random: share 0\.9 of backbone 'tiny-dinov2' .* q .*6,912"):
        attach(Random(Random.Settings(groups=("q",), share=0.9)), tiny_backbone("dinov2"))
