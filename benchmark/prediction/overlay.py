"""A photograph with its predicted classes as colours, and a legend."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmark.data.labels import Bytes, colorize
from benchmark.labelsets import LabelSet

SMALLEST, LARGEST = 512, 2048
"""The long edge of a drawn picture: smaller images are enlarged, larger ones reduced."""
ROWS = 512
PAPER, INK = (255, 255, 255), (30, 30, 30)
STRENGTH = 0.5
"""Weight of the class colour; the rest is the photograph in grey, which changes no colour."""
EDGE = 0.5
"""Brightness of the lines between classes."""


def overlay(image: Bytes, classes: Bytes, labels: LabelSet) -> Image.Image:
    """Return a picture of an image and its classes; the legend has those that occur, with their fraction of the pixels.

    Args:
        image: uint8 (H, W, 3).
        classes: uint8 (H, W), train ids.
        labels: names and colours.
    """
    strips = np.array_split(classes, -(-len(classes) // ROWS))  # counting needs eight bytes per pixel
    counts = sum((np.bincount(strip.ravel(), minlength=len(labels.classes)) for strip in strips), np.zeros(1, np.int64))
    size = drawn_size(classes.shape)
    photograph = _scaled(image, size, cv2.INTER_AREA if size[0] < classes.shape[1] else cv2.INTER_CUBIC)
    regions = _scaled(classes, size, cv2.INTER_NEAREST)
    grey = cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    blend = STRENGTH * colorize(regions, labels.colors).astype(np.float32) + (1 - STRENGTH) * grey
    blend[_edges(regions)] *= EDGE
    return _with_legend(Image.fromarray(blend.round().astype(np.uint8)), counts, labels)


def drawn_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return width and height at which an image of ``shape`` (H, W) is drawn."""
    height, width = shape[:2]
    longest = max(height, width)
    scale = min(max(longest, SMALLEST), LARGEST) / longest
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _scaled(pixels: Bytes, size: tuple[int, int], how: int) -> Bytes:
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)


def _edges(regions: Bytes) -> np.ndarray:
    """Return the pixels whose neighbour on the right or below has another class."""
    edges = np.zeros(regions.shape, bool)
    edges[:, :-1] |= regions[:, 1:] != regions[:, :-1]
    edges[:-1] |= regions[1:] != regions[:-1]
    return edges


def _with_legend(picture: Image.Image, counts: np.ndarray, labels: LabelSet) -> Image.Image:
    """Return the picture with the classes that occur below it, the most frequent first."""
    line = max(picture.width // 32, 16)
    font = ImageFont.load_default(0.7 * line)
    order = [place for place in np.argsort(-counts, kind="stable") if counts[place]]
    texts = [f"{labels.names[place]} {_percent(counts[place] / counts.sum())}" for place in order]
    each = 2 * line + int(max(font.getlength(text) for text in texts))
    across = max(picture.width // each, 1)
    width = max(picture.width, each)
    sheet = Image.new("RGB", (width, picture.height + line // 2 + line * -(-len(texts) // across)), PAPER)
    sheet.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(sheet)
    for place, (index, text) in enumerate(zip(order, texts, strict=True)):
        left, top = line // 3 + place % across * (width // across), picture.height + line // 4 + place // across * line
        box = (left, top + line // 8, left + line, top + line - line // 8)
        draw.rectangle(box, labels.colors[index], INK)
        draw.text((left + 1.3 * line, top), text, INK, font)
    return sheet


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %" if fraction >= 0.0005 else "< 0.1 %"
