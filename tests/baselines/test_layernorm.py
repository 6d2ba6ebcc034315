"""LayerNorm tuning: number of parameters on architectures with published counts."""

from __future__ import annotations

import pytest
import torch
from timm.layers import RmsNorm

from baselines.layernorm import LayerNorm
from benchmark.common.errors import UserError
from benchmark.common.rng import torch_rng
from benchmark.models.backbone import build_backbone
from tests.backbones import tiny_backbone


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("dinov2-l", 100_352),
        ("mae-l", 100_352),
        ("clip-l", 102_400),  # includes a norm before the first block
        ("eva02-l", 231_392),  # includes one in the feed-forward layers of each block
        ("sam-h", 164_864 - 2 * 2 * 256),  # the published count includes the neck's two
    ],
)
def test_counts_are_the_published(name: str, count: int) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, pretrained=False)
    made = LayerNorm()
    made.attach(backbone, torch_rng(0, "method"))
    assert made.trainable() == count
    assert sum(p.numel() for p in backbone.parameters() if p.requires_grad) == count


def test_a_backbone_without_layernorm_is_refused() -> None:
    with pytest.raises(UserError, match=r"layernorm .*'tiny-plain'.*choose another"):
        LayerNorm().attach(tiny_backbone("plain", norm_layer=RmsNorm), torch_rng(0, "method"))
