"""Alterations of images in three strengths, to evaluate a model on any data set under one changed condition.

Each keeps the label, needs no depth or label to compute, and is the same for an image whenever it is read: its random
numbers depend on the image's id. Lengths are in rows of an image of 256 rows and scale with the image's height.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmark.common.rng import numpy_rng
from benchmark.data.labels import Bytes
from benchmark.data.samples import Sample, SampleReader

Pixels = NDArray[np.float32]  # (H, W, 3) RGB, 0..255
ROWS = 256
GREY = np.array([0.299, 0.587, 0.114], np.float32)
AIR = np.array([214.0, 218.0, 222.0], np.float32)
"""Colour of fog."""


class Alteration(NamedTuple):
    """A change of an image.

    Attributes:
        apply: returns the altered pixels, given the pixels, the amount and a random number generator.
        amounts: of the strengths 1, 2 and 3.
        unit: what the amount is.
    """

    apply: Callable[[Pixels, float, np.random.Generator], Pixels]
    amounts: tuple[float, float, float]
    unit: str


def _noise(image: Pixels, deviation: float, rng: np.random.Generator) -> Pixels:
    return image + deviation * rng.standard_normal(image.shape, np.float32)


def _blur(image: Pixels, width: float, rng: np.random.Generator) -> Pixels:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), width * len(image) / ROWS), np.float32)


def _compression(image: Pixels, quality: float, rng: np.random.Generator) -> Pixels:
    encoded = cv2.imencode(".jpg", _bytes(image)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.float32)[..., ::-1]


def _dark(image: Pixels, gamma: float, rng: np.random.Generator) -> Pixels:
    return np.asarray(255 * (image / 255) ** gamma, np.float32)


def _fog(image: Pixels, cover: float, rng: np.random.Generator) -> Pixels:
    return image + np.float32(cover) * (AIR - image)


def _grey(image: Pixels, amount: float, rng: np.random.Generator) -> Pixels:
    return image + np.float32(amount) * ((image @ GREY)[..., None] - image)


def _hue(image: Pixels, degrees: float, rng: np.random.Generator) -> Pixels:
    """Rotate colours around the grey axis, so that black, white and grey remain."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = cosine * np.eye(3) + (1 - cosine) / 3 + sine * across
    return np.asarray(image @ turn.T.astype(np.float32), np.float32)


def _texture(image: Pixels, contrast: float, rng: np.random.Generator) -> Pixels:
    """Multiply by 1 + ``contrast`` times a sum of random patterns of 4, 8, 16 and 32 rows, of unit deviation."""
    height, width = image.shape[:2]
    pattern = np.zeros((height, width), np.float32)
    for rows in (4, 8, 16, 32):
        step = rows * height / ROWS
        coarse = rng.standard_normal((round(height / step) + 2, round(width / step) + 2), np.float32)
        pattern += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(image * (1 + contrast * pattern / pattern.std())[..., None], np.float32)


ALTERATIONS = {
    "noise": Alteration(_noise, (10, 25, 50), "standard deviation, of 255"),
    "blur": Alteration(_blur, (1, 2, 4), "standard deviation, in rows of 256"),
    "compression": Alteration(_compression, (30, 15, 7), "JPEG quality"),
    "dark": Alteration(_dark, (2, 3, 4), "exponent"),
    "fog": Alteration(_fog, (0.5, 0.7, 0.85), "part of the light"),
    "hue": Alteration(_hue, (40, 80, 120), "degrees around the grey axis"),
    "grey": Alteration(_grey, (0.5, 0.8, 1.0), "part of the colour removed"),
    "texture": Alteration(_texture, (0.1, 0.2, 0.3), "standard deviation, of the brightness"),
}
STRENGTHS = (1, 2, 3)


class Altered:
    """Images under one alteration; labels as they are."""

    def __init__(self, reader: SampleReader, name: str, strength: int) -> None:
        self._reader, self._name, self._strength = reader, name, strength

    def read(self, sample: Sample) -> tuple[Bytes, Bytes]:
        """Return the altered image (H, W, 3) and train ids (H, W); see ``Reader.read``."""
        image, label = self._reader.read(sample)
        change = ALTERATIONS[self._name]
        rng = numpy_rng(0, "alter", self._name, sample.id)
        pixels = change.apply(image.astype(np.float32), change.amounts[self._strength - 1], rng)
        return _bytes(pixels), label


def _bytes(pixels: Pixels) -> Bytes:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
