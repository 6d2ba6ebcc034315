"""What is measured: models with random weights and made-up frames, at full size or small enough for a CPU."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark import protocol as protocols
from benchmark.models.backbone import build_backbone
from benchmark.models.decoder import Decoder, seeded
from benchmark.models.decoders import build_decoder
from benchmark.models.segmenter import Segmenter
from benchmark.protocol import Protocol

CLASSES = 19
REGIONS = 4
"""Regions of one class along each side of a made-up frame: a crop shows about as many classes as one of GTA5."""


@dataclass(frozen=True)
class Size:
    """The size of all measurements.

    Attributes:
        protocol: its batch, crop, decoder, evaluation windows and precision count (``auto``: bfloat16), and its number
            of iterations.
        backbone: its name.
        frame: height and width of the frames to evaluate.
        steps: training steps that are timed, at most.
        frames: frames whose evaluation is timed.
        decoder: arguments for a smaller Mask2Former; empty for the published one.
    """

    protocol: Protocol
    backbone: str
    frame: tuple[int, int]
    steps: int
    frames: int
    decoder: dict[str, int] = field(default_factory=dict)

    @property
    def crop(self) -> int:
        """Side of a training crop in pixels."""
        return self.protocol.augmentation.crop


def full() -> Size:
    """Return DINOv2-L and Mask2Former at 512 pixels, batch 4, in bfloat16, and frames of Cityscapes' size."""
    fixed = protocols.load("gtav-to-cbm").model_copy(update={"precision": "auto"})
    return Size(fixed, fixed.backbone, (1024, 2048), steps=10, frames=2)


def tiny() -> Size:
    """Return the same with a ViT-Tiny, a Mask2Former of one layer and crops of 32 pixels."""
    fixed = full().protocol
    changes = {
        "batch": 2,
        "augmentation": fixed.augmentation.model_copy(update={"crop": 32}),
        "evaluation": fixed.evaluation.model_copy(update={"crop": 32, "stride": 21}),
    }
    decoder = {"encoder_layers": 1, "decoder_layers": 1, "points": 64}
    return Size(fixed.model_copy(update=changes), "vit-tiny-random", (32, 64), steps=2, frames=1, decoder=decoder)


class Models:
    """Backbone and decoder with random weights, built once and copied for each method."""

    def __init__(self, size: Size) -> None:
        self._size = size

    @cached_property
    def _built(self) -> Segmenter:
        backbone = build_backbone(self._size.backbone, pretrained=False)
        return Segmenter(backbone, _decoder(self._size, backbone.embed_dim))

    def segmenter(self) -> Segmenter:
        """Return a copy of both, joined."""
        return deepcopy(self._built)


def _decoder(size: Size, width: int) -> Decoder:
    if not size.decoder:
        return build_decoder(size.protocol.decoder, width, CLASSES, seed=0)
    from benchmark.models.mask2former import Mask2Former  # importing it takes seconds

    with seeded(0, "decoder"):
        return Mask2Former(width, CLASSES, **size.decoder)


def made_up(count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return images (B, 3, H, W) in 0..255 of noisy regions of one colour per class, and labels (B, H, W).

    A strip at the top is unlabelled.
    """
    rng = torch.Generator().manual_seed(0)
    regions = torch.randint(CLASSES, (count, 1, REGIONS, REGIONS), generator=rng)
    labels = F.interpolate(regions.float(), (height, width), mode="nearest")[:, 0].long()
    colours = 255 * torch.rand(CLASSES, 3, generator=rng)
    images = colours[labels].permute(0, 3, 1, 2) + 20 * torch.randn(count, 3, height, width, generator=rng)
    labels[:, : height // 16] = 255
    return images.clamp(0, 255).contiguous(), labels
