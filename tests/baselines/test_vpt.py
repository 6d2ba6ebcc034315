"""VPT against prompts concatenated by hand, also in SAM's windows."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines.vpt import VPT
from benchmark.common.errors import UserError
from benchmark.common.rng import torch_rng
from benchmark.models.backbone import Backbone
from tests.backbones import tiny_backbone
from tests.baselines.numerics import attach, close, images, outputs
from tests.baselines.reference import as_map, attached, attend_in_windows, embed, feed_forward, rotated


def attention(module: Any, x: Tensor, rope: Tensor | None, plain_tokens: int) -> Tensor:
    """Compute timm's attention from its weights; the first ``plain_tokens`` tokens are not rotated."""
    batch, length, width = x.shape
    if module.qkv is not None:
        bias = module.qkv.bias
        if getattr(module, "q_bias", None) is not None:
            bias = torch.cat([module.q_bias, module.k_bias, module.v_bias])
        projected = nn.functional.linear(x, module.qkv.weight, bias).chunk(3, -1)
    else:
        projected = (module.q_proj(x), module.k_proj(x), module.v_proj(x))
    q, k, v = (t.reshape(batch, length, module.num_heads, -1).transpose(1, 2) for t in projected)
    if rope is not None:
        half = module.rotate_half
        q, k = (torch.cat([t[:, :, :plain_tokens], rotated(t[:, :, plain_tokens:], rope, half)], 2) for t in (q, k))
    weights = (q @ k.mT / math.sqrt(width // module.num_heads)).softmax(-1)
    return module.proj(module.norm((weights @ v).transpose(1, 2).reshape(batch, length, width)))


def vit_with_prompts(backbone: Backbone, prompts: Tensor) -> list[Tensor]:
    """Compute VPT-deep in plain steps: concatenate, run the block, discard the outputs at prompts."""
    vit, start = backbone.vit, backbone.prefix_tokens
    embedded = vit._pos_embed(vit.patch_embed(images()))
    x, rope = embedded if isinstance(embedded, tuple) else (embedded, None)
    taken = []
    for block, own in zip(backbone.blocks, prompts, strict=True):
        b: Any = block
        x = torch.cat([x[:, :start], own.expand(len(x), -1, -1), x[:, start:]], 1)
        eva = hasattr(b, "gamma_1")
        scales = (b.gamma_1, b.gamma_2) if eva else (getattr(b.ls1, "gamma", None), getattr(b.ls2, "gamma", None))
        first, second = (1.0 if scale is None else scale for scale in scales)
        x = x + first * attention(b.attn, b.norm1(x), rope, start + len(own))
        x = x + second * b.mlp(b.norm2(x))
        x = torch.cat([x[:, :start], x[:, start + len(own) :]], 1)
        taken.append(x[:, start:].transpose(1, 2).unflatten(2, (4, 4)))
    return taken


@pytest.mark.parametrize("kind", ["plain", "dinov2", "eva02", "eva02-fused", "dinov3"])
def test_vpt_equals_concatenation_by_hand(kind: str) -> None:
    backbone = tiny_backbone(kind)
    start = outputs(backbone.eval())
    attach(VPT(VPT.Settings(prompts=5)), backbone)
    found = outputs(backbone)
    with torch.no_grad():
        expected = vit_with_prompts(tiny_backbone(kind).eval(), backbone.get_parameter("vpt.tokens"))
    assert close(found, expected)
    assert not close(found, start, 1e-3)


@pytest.mark.parametrize("options", [{}, {"qk_norm": True}, {"window_size": 3}])
@torch.no_grad()
def test_vpt_equals_additional_tokens_in_each_of_sams_windows(options: dict[str, Any]) -> None:
    backbone = attached(VPT(VPT.Settings(prompts=5)), "sam", **options)
    prompts = backbone.get_parameter("vpt.tokens")
    prompts.mul_(10)
    found = backbone(images(1).double())
    x, _ = embed(backbone, images(1).double())
    for block, own, features in zip(backbone.blocks, prompts, found, strict=True):
        attention = attend_in_windows(block, block.get_submodule("norm1")(x), block.get_submodule("norm1")(own))
        usual = attend_in_windows(block, block.get_submodule("norm1")(x))
        assert not torch.allclose(attention, usual, rtol=0.1, atol=0.1)
        x = x + attention
        x = x + feed_forward(block, x)
        assert torch.allclose(features, as_map(backbone, x), rtol=1e-9, atol=1e-9)


def test_vpt_refuses_windows_without_relative_positions() -> None:
    backbone = tiny_backbone("sam", use_rel_pos=False)
    with pytest.raises(UserError, match=r"vpt .*'tiny-sam': block 0 is windowed .*relative positions"):
        VPT().attach(backbone, torch_rng(0, "method"))


def test_vpt_prompts_are_uniform_in_their_range() -> None:
    backbone = tiny_backbone("plain")
    attach(VPT(), backbone)
    bound = math.sqrt(6 / (3 * 8 * 8 + 48))
    assert 0.999 * bound < backbone.get_parameter("vpt.tokens").abs().max() <= bound
