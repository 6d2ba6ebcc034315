"""VQT against a reference implementation of its blocks; the frozen path must not change."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from timm.layers import Attention
from timm.models.vision_transformer import DiffAttention, ResPostBlock
from torch import Tensor

from baselines.vqt import VQT
from benchmark.common.errors import UserError
from benchmark.common.rng import torch_rng
from benchmark.models.backbone import Backbone
from tests.backbones import tiny_backbone
from tests.baselines.reference import (
    after_attention,
    as_map,
    attached,
    attend,
    embed,
    feed_forward,
    images,
    layer_scale,
)

SERVED: list[tuple[str, dict[str, Any]]] = [
    ("plain", {}),
    ("plain", {"qk_norm": True, "scale_attn_norm": True}),
    ("dinov2", {}),
    ("eva02", {}),
    ("eva02", {"scale_attn_inner": True}),
    ("eva02-fused", {}),
    ("dinov3", {}),
    ("dinov3", {"attn_type": "rope"}),  # as timm does for DINOv3
    ("sam", {}),
]


class Gated(Attention):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, gated=True)


def outputs_by_hand(block: Any, queries: Tensor, x: Tensor, rope: Tensor | None) -> Tensor:
    """Compute one block's query outputs (B, T, D)."""
    q, x = queries.expand(len(x), -1, -1), x.flatten(1, -2)
    q = q + layer_scale(block, 1) * attend(block.attn, block.norm1(q), block.norm1(x), rope, queries_have_place=False)
    return q + feed_forward(block, q)


def read_by_hand(features: Tensor, blocks: list[Tensor]) -> Tensor:
    """Compute the input of the decoder, position by position, from the query outputs of one or more blocks."""
    result = features.clone()
    images_, dim, height, width = features.shape
    for image in range(images_):
        for row in range(height):
            for column in range(width):
                f = features[image, :, row, column]
                for queries in blocks:
                    powers = [math.exp(float(f @ q) / math.sqrt(dim)) for q in queries[image]]
                    for power, q in zip(powers, queries[image], strict=True):
                        result[image, :, row, column] += power / sum(powers) * q / len(blocks)
    return result


@pytest.mark.parametrize("out_indices", [(0, 1, 2), (1, 2), (0, 2)])
@pytest.mark.parametrize(("kind", "options"), SERVED)
@torch.no_grad()
def test_it_equals_its_formula_in_every_block(kind: str, options: dict[str, Any], out_indices: tuple[int, ...]) -> None:
    backbone = attached(VQT(VQT.Settings(queries=4)), kind, **options)
    backbone.out_indices = out_indices
    tokens = backbone.get_parameter("vqt.tokens")
    tokens.mul_(10)  # so that query tokens differ within and between blocks
    found = backbone(images())
    x, rope = embed(backbone, images())
    expected, since = [], []
    for index, block in enumerate(backbone.blocks):
        since.append(outputs_by_hand(block, tokens[index], x, rope))
        x = after_attention(block, x, rope)
        x = x + feed_forward(block, x)
        if index in out_indices:
            expected.append((as_map(backbone, x), since))
            since = []
    assert len(found) == len(out_indices)
    for left, (features, blocks) in zip(found, expected, strict=True):
        assert torch.allclose(left, read_by_hand(features, blocks), rtol=1e-9, atol=1e-9)
        assert not torch.allclose(left, features, rtol=0.1, atol=0.1)


def block_outputs(backbone: Backbone) -> list[Tensor]:
    seen: list[Tensor] = []
    handles = [block.register_forward_hook(lambda _, args, output: seen.append(output)) for block in backbone.blocks]
    with torch.no_grad():
        backbone(images().float())
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize(("kind", "options"), SERVED)
def test_the_frozen_path_is_bit_identical(kind: str, options: dict[str, Any]) -> None:
    backbone = tiny_backbone(kind, **options).eval()
    before = block_outputs(backbone)
    made = VQT()
    made.attach(backbone, torch_rng(0, "method"))
    made.train_mode()
    after = block_outputs(backbone)
    assert len(before) == 3
    assert all(torch.equal(left, right) for left, right in zip(after, before, strict=True))


def test_query_tokens_between_out_indices_get_gradients() -> None:
    backbone = attached(VQT(), "dinov2")
    backbone.out_indices = (2,)
    sum(features.square().sum() for features in backbone(images())).backward()
    gradient = backbone.get_parameter("vqt.tokens").grad
    assert gradient is not None
    assert (gradient.flatten(1).norm(dim=1) > 1e-3).all()


@torch.no_grad()
def test_dropout_of_queries_is_only_in_training() -> None:
    made = VQT(VQT.Settings(dropout=0.5))
    backbone = attached(made, "plain")
    assert torch.equal(backbone(images())[-1], backbone(images())[-1])
    made.train_mode()
    assert not torch.equal(backbone(images())[-1], backbone(images())[-1])


def test_initial_queries_are_uniform_in_their_range() -> None:
    tokens = attached(VQT(VQT.Settings(queries=100)), "plain").get_parameter("vqt.tokens")
    bound = math.sqrt(6 / (3 * 8 * 8 + 48))
    assert 0.999 * bound < tokens.abs().max() <= bound
    assert tokens.mean().abs() < 0.01 * bound


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        ("sam", {"use_rope": True, "use_rel_pos": False}, "rotary"),
        ("plain", {"block_fn": ResPostBlock}, "ResPostBlock"),
        ("plain", {"attn_layer": DiffAttention, "num_heads": 2}, "DiffAttention"),
        ("dinov3", {"attn_type": "rope", "qkv_fused": False, "num_kv_heads": 1}, "shared keys"),
        ("plain", {"attn_layer": Gated}, "gated"),
    ],
)
def test_other_kinds_of_blocks_are_refused(kind: str, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=rf"vqt .*'tiny-{kind}': block 0 .*{reason}.*choose"):
        VQT().attach(tiny_backbone(kind, **options), torch_rng(0, "method"))
