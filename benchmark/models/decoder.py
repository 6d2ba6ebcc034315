"""The light decoder: a feature pyramid for plain ViTs and an all-MLP head, both mmsegmentation's.

No batch statistics and no dropout: what an image yields depends neither on its batch, nor on the number of
processes, nor on a random stream that a method could shift.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from benchmark import streams


class DecoderSpec(Protocol):
    """What a protocol must say about the decoder: the head's width."""

    @property
    def channels(self) -> int:
        """Width of the head."""


class LightDecoder(nn.Module):
    """Feature2Pyramid (plain ViTs: Li et al., ECCV 2022) and SegformerHead (Xie et al., NeurIPS 2021)."""

    def __init__(self, pyramid: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.head = head

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return class logits (B, C, 4h, 4w) from four (B, D, h, w) block outputs, shallow to deep."""
        return self.head(self.pyramid(features))


def build_decoder(spec: DecoderSpec, embed_dim: int, num_classes: int, seed: int) -> LightDecoder:
    """Build the decoder with initial weights that depend on the arguments alone.

    Args:
        spec: the protocol's section.
        embed_dim: width D of the backbone's tokens.
        num_classes: C.
        seed: the run's; the weights come from the stream (seed, "decoder"), torch's global generator stays
            as it is.
    """
    from benchmark.models.mmseg_parts import Feature2Pyramid, SegformerHead

    norm: dict[str, Any] = {"type": "GN", "num_groups": math.gcd(32, embed_dim), "requires_grad": True}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(streams.number(seed, "decoder"))
        pyramid = Feature2Pyramid(embed_dim, rescales=[4, 2, 1, 0.5], norm_cfg=norm)
        pyramid.downsample_2x.ceil_mode = True  # a grid of one row or column has a coarse level, too
        # The head insists on a loss; it stays unused, the segmenter compares.
        head = SegformerHead(
            in_channels=[embed_dim] * 4,
            in_index=[0, 1, 2, 3],
            channels=spec.channels,
            num_classes=num_classes,
            dropout_ratio=0.0,
            loss_decode={"type": "CrossEntropyLoss", "avg_non_ignore": True},
        )
        nn.init.normal_(head.conv_seg.weight, std=0.01)  # as mmsegmentation's runner would
        nn.init.zeros_(head.conv_seg.bias)
    return LightDecoder(pyramid, head)
