"""A small Mask2Former, inputs for it, and a plain-Python reference of mask sampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchmark.models.mask2former import Mask2Former
from benchmark.models.segmenter import Segmenter
from benchmark.protocol import DecoderSpec
from tests.backbones import tiny_backbone

SPEC = DecoderSpec(name="mask2former", lr=1e-4)


QUERIES, CLASSES, POINTS = 5, 3, 16


def small(queries: int = QUERIES, classes: int = CLASSES, points: int = POINTS) -> Mask2Former:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Mask2Former(48, classes, queries, encoder_layers=1, decoder_layers=2, points=points)


def model(kind: str = "dinov2") -> Segmenter:
    return Segmenter(tiny_backbone(kind, depth=4), small())


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 255


def labelled(batch: int, height: int, width: int) -> Tensor:
    rows = torch.arange(height)[:, None] * CLASSES // height
    label = rows.expand(batch, height, width).clone()
    label[..., :1] = 255
    return label


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def value_at(field: list[list[float]], u: float, v: float) -> float:
    """Bilinear interpolation; pixel centres at half-integers, zero outside; u, v in 0..1 along width and height."""
    height, width = len(field), len(field[0])
    x, y = u * width - 0.5, v * height - 0.5
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                total += field[row][column] * (1 - abs(x - column)) * (1 - abs(y - row))
    return total
