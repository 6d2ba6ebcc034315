"""Build the decoder that a protocol names: the light decoder, a linear probe or Mask2Former."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.models.decoder import Decoder, DecoderSpec, seeded


class LightDecoder(Decoder):
    """The light decoder: a feature pyramid for plain ViTs and an all-MLP head, both mmsegmentation's.

    Feature2Pyramid (plain ViTs: Li et al., ECCV 2022) and SegformerHead (Xie et al., NeurIPS 2021). It has no batch
    statistics and no dropout, so the output for an image depends neither on the rest of its batch, nor on the number
    of ranks, nor on random numbers that a method draws.
    """

    def __init__(self, pyramid: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.head = head

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return class logits (B, C, 4h, 4w) from four (B, D, h, w) block outputs, shallow to deep."""
        # On CPUs, channels last halves the time of the convolutions and of the upsampling to pixels.
        return self.head(self.pyramid([x.contiguous(memory_format=torch.channels_last) for x in features]))


class LinearDecoder(Decoder):
    """A linear probe: a single 1×1 convolution on the deepest block output that the backbone returns.

    Papers list "Linear" among the fine-tuning methods: a frozen backbone with such a head. Here the decoder is defined
    by the protocol, because a method with its own decoder would not be compared under the same conditions. Every
    method can be trained with this decoder (``--protocol streets@linear``); the papers' "Linear" is the row
    ``freeze`` of such a protocol's table.

    There is no norm, hidden layer or pyramid: logits are linear in the block's output at the same position.
    """

    def __init__(self, embed_dim: int, num_classes: int) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(embed_dim, num_classes, 1)
        for name, parameter in self.conv_seg.named_parameters():  # as in the last layer of the light decoder
            nn.init.normal_(parameter, std=0.01 if name == "weight" else 0.0)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return class logits (B, C, h, w) from block outputs (B, D, h, w), the deepest last."""
        return self.conv_seg(features[-1])


def build_decoder(spec: DecoderSpec, embed_dim: int, num_classes: int, seed: int) -> Decoder:
    """Build the decoder with initial weights that depend on the arguments alone.

    Args:
        spec: the protocol's decoder section.
        embed_dim: token width D of the backbone.
        num_classes: number of classes C.
        seed: seed of the run. The weights are drawn from the RNG stream (seed, "decoder"); torch's global generator
            is not changed.
    """
    with seeded(seed, "decoder"):
        if spec.name == "mask2former":
            from benchmark.models.mask2former import Mask2Former

            return Mask2Former(embed_dim, num_classes)
        if spec.name == "linear":
            return LinearDecoder(embed_dim, num_classes)
        return _light(spec.channels, embed_dim, num_classes)


def _light(channels: int, embed_dim: int, num_classes: int) -> LightDecoder:
    from benchmark.models.mmseg_parts import Feature2Pyramid, SegformerHead

    norm: dict[str, Any] = {"type": "GN", "num_groups": math.gcd(32, embed_dim), "requires_grad": True}
    pyramid = Feature2Pyramid(embed_dim, rescales=[4, 2, 1, 0.5], norm_cfg=norm)
    pyramid.downsample_2x.ceil_mode = True  # so that a grid with one row or column has a coarse level
    with warnings.catch_warnings():  # of two classes, for which it suggests one output and a threshold
        warnings.filterwarnings("ignore", "For binary segmentation", UserWarning)
        # The head requires a loss, but LightDecoder computes its own.
        head = SegformerHead(
            in_channels=[embed_dim] * 4,
            in_index=[0, 1, 2, 3],
            channels=channels,
            num_classes=num_classes,
            dropout_ratio=0.0,
            loss_decode={"type": "CrossEntropyLoss", "avg_non_ignore": True},
        )
    nn.init.normal_(head.conv_seg.weight, std=0.01)  # as mmsegmentation's runner does
    nn.init.zeros_(head.conv_seg.bias)
    return LightDecoder(pyramid, head)
