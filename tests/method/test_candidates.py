"""Candidate weights of sparse methods, on the architectures of the papers."""

from __future__ import annotations

import pytest
import torch

from benchmark.common.errors import UserError
from benchmark.method import GROUPS, candidates, matrices
from benchmark.models.backbone import Backbone, build_backbone
from tests.backbones import tiny_backbone


@pytest.mark.parametrize(
    ("name", "each", "feed_forward"),
    [
        ("dinov2-l", 24 * 1024**2, 24 * 8 * 1024**2),  # 276,824,064 in all
        ("eva02-l", 24 * 1024**2, 24 * 3 * 1024 * 2730),  # separate q, k, v; SwiGLU
        ("sam-h", 32 * 1280**2, 32 * 8 * 1280**2),
    ],
)
def test_counts_on_real_architectures(name: str, each: int, feed_forward: int) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, pretrained=False)
    sizes = dict.fromkeys(GROUPS, 0)
    for candidate in candidates(backbone):
        sizes[candidate.group] += candidate.numel()
    assert sizes == {"q": each, "k": each, "v": each, "ffn": feed_forward}
    assert sum(matrix.numel() for matrix in matrices(backbone).values()) == sum(sizes.values())


@pytest.mark.parametrize("kind", ["plain", "eva02", "eva02-fused"])
def test_each_group_has_the_effect_of_its_name(kind: str) -> None:
    """Without queries or keys, attention is uniform; without values, its output is zero."""
    for group in ("q", "k", "v"):
        backbone = tiny_backbone(kind)
        block = backbone.get_submodule("vit.blocks.1")
        seen: list[torch.Tensor] = []
        attention = block.get_submodule("attn")
        attention.get_submodule("proj").register_forward_pre_hook(lambda module, args, seen=seen: seen.append(args[0]))
        with torch.no_grad():
            for name in ("q_proj.bias", "k_proj.bias", "v_proj.bias", "qkv.bias", "q_bias", "k_bias", "v_bias"):
                for known, tensor in [*attention.named_parameters(), *attention.named_buffers()]:
                    if known == name:
                        tensor.zero_()
            for candidate in candidates(backbone, (group,)):
                if candidate.block == 1:
                    candidate.share(candidate.parameter).zero_()
            backbone(torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
        spread = (seen[0] - seen[0].mean(1, keepdim=True)).abs().max()
        assert spread < 1e-5
        assert (seen[0].abs().max() < 1e-5) == (group == "v")


def test_groups_select() -> None:
    backbone = tiny_backbone("eva02")
    assert {candidate.group for candidate in candidates(backbone, ("ffn",))} == {"ffn"}
    assert all(".mlp.fc" in name for name in matrices(backbone, ("ffn",)))


def test_a_block_without_attention_is_refused() -> None:
    backbone: Backbone = tiny_backbone("plain")
    del backbone.get_submodule("vit.blocks.2").attn
    with pytest.raises(UserError, match=r"'tiny-plain': block 2 lacks attn\.qkv"):
        candidates(backbone)
