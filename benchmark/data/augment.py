"""Training augmentation: mmsegmentation's recipe, as used by Rein and later methods.

Random resize, random crop, random flip, photometric distortion and padding, in this order. All random numbers come
from the generator passed in, so a crop depends on that generator only. Images are uint8 RGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from benchmark.data.labels import IGNORE, Bytes

CROP_TRIES = 10
BRIGHTNESS = 32.0  # largest shift, in grey levels
CONTRAST = SATURATION = (0.5, 1.5)  # range of the factor
HUE = 18  # largest shift, in OpenCV's units of two degrees


class Settings(Protocol):
    """Options of ``train_transform``; the augmentation section of a protocol has these fields."""

    @property
    def short_edge(self) -> tuple[int, int] | None:
        """Smallest and largest short edge in pixels; lengths are drawn uniformly from this range."""

    @property
    def short_edges(self) -> tuple[int, ...] | None:
        """Short edges in pixels to draw from uniformly, instead of a range."""

    @property
    def crop(self) -> int:
        """Side of the square crop in pixels."""

    @property
    def cat_max_ratio(self) -> float:
        """A crop is drawn again if one class covers at least this fraction of its labelled pixels."""

    @property
    def flip(self) -> float:
        """Probability of a left-right flip."""

    @property
    def photometric(self) -> bool:
        """Whether to apply photometric distortion."""


def train_transform(image: Bytes, label: Bytes, rng: np.random.Generator, settings: Settings) -> tuple[Bytes, Bytes]:
    """Return one augmented crop: image (crop, crop, 3) and label (crop, crop), both uint8 and contiguous.

    A resized image smaller than the crop is padded at the bottom and right, with 0 in the image and 255 in the
    label.
    """
    size, side = resized(image.shape[:2], _short_edge(rng, settings)), settings.crop
    label = np.asarray(cv2.resize(label, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    top, left = choose_crop(label, rng, side, settings.cat_max_ratio)
    image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    image, label = (plane[top : top + side, left : left + side] for plane in (image, label))
    if rng.random() < settings.flip:
        image, label = image[:, ::-1], label[:, ::-1]
    if settings.photometric:
        image = Distortion.draw(rng)(np.ascontiguousarray(image))
    return _padded(image, side, 0), _padded(label, side, IGNORE)


def resized(size: tuple[int, ...], short_edge: int) -> tuple[int, int]:
    """Return (width, height) of an image of ``size`` (height, width) scaled to ``short_edge``."""
    height, width = size[:2]
    scale = short_edge / min(height, width)
    return int(width * scale + 0.5), int(height * scale + 0.5)


def choose_crop(label: Bytes, rng: np.random.Generator, crop: int, cat_max_ratio: float) -> tuple[int, int]:
    """Return (top, left) of a crop of ``label`` (H, W) in which no class dominates.

    A crop is accepted if it has labelled pixels (not 255) and no class covers the fraction ``cat_max_ratio`` of
    them. After ten rejected crops the next one is used unchecked.
    """
    height, width = label.shape
    bounds = (max(height - crop, 0) + 1, max(width - crop, 0) + 1)
    corner = _corner(rng, bounds)
    if cat_max_ratio >= 1:
        return corner
    for _ in range(CROP_TRIES):
        top, left = corner
        counts = np.bincount(label[top : top + crop, left : left + crop].ravel(), minlength=256)[:IGNORE]
        if counts.max() < cat_max_ratio * counts.sum():
            break
        corner = _corner(rng, bounds)
    return corner


@dataclass(frozen=True)
class Distortion:
    """Parameters of one photometric distortion; None skips that step.

    As in mmsegmentation, every step truncates its result to 8 bits, so the order of the steps matters.
    """

    brightness: float | None
    contrast: float | None
    contrast_first: bool
    saturation: float | None
    hue: int | None

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Distortion:
        """Draw the parameters, each step with probability 1/2. As in mmsegmentation, a hue shift is never +18."""
        brightness = rng.uniform(-BRIGHTNESS, BRIGHTNESS) if rng.random() < 0.5 else None
        contrast = rng.uniform(*CONTRAST) if rng.random() < 0.5 else None
        saturation = rng.uniform(*SATURATION) if rng.random() < 0.5 else None
        hue = int(rng.integers(-HUE, HUE)) if rng.random() < 0.5 else None
        return cls(brightness, contrast, bool(rng.random() < 0.5), saturation, hue)

    def __call__(self, image: Bytes) -> Bytes:
        """Return ``image``, RGB (H, W, 3), distorted."""
        if self.brightness is not None:
            image = _linear(image, 1.0, self.brightness)
        if self.contrast is not None and self.contrast_first:
            image = _linear(image, self.contrast, 0.0)
        if self.saturation is not None:
            hsv = _converted(image, cv2.COLOR_RGB2HSV)
            hsv[..., 1] = _linear(hsv[..., 1], self.saturation, 0.0)
            image = _converted(hsv, cv2.COLOR_HSV2RGB)
        if self.hue is not None:
            hsv = _converted(image, cv2.COLOR_RGB2HSV)
            hsv[..., 0] = ((np.arange(256) + self.hue) % 180).astype(np.uint8)[hsv[..., 0]]
            image = _converted(hsv, cv2.COLOR_HSV2RGB)
        if self.contrast is not None and not self.contrast_first:
            image = _linear(image, self.contrast, 0.0)
        return image


def _linear(plane: Bytes, factor: float, shift: float) -> Bytes:
    # Every pixel has the same map: compute it for the 256 levels in float32 and look it up.
    levels = np.arange(256, dtype=np.float32) * factor + shift
    return np.asarray(cv2.LUT(plane, levels.clip(0, 255).astype(np.uint8)), np.uint8)


def _converted(image: Bytes, code: int) -> Bytes:
    return np.asarray(cv2.cvtColor(image, code), np.uint8)


def _short_edge(rng: np.random.Generator, settings: Settings) -> int:
    if settings.short_edges is not None:
        return settings.short_edges[rng.integers(len(settings.short_edges))]
    assert settings.short_edge is not None
    low, high = settings.short_edge
    return int(rng.integers(low, high + 1))


def _corner(rng: np.random.Generator, bounds: tuple[int, int]) -> tuple[int, int]:
    return int(rng.integers(bounds[0])), int(rng.integers(bounds[1]))


def _padded(plane: Bytes, side: int, value: int) -> Bytes:
    height, width = plane.shape[:2]
    if (height, width) == (side, side):
        return np.ascontiguousarray(plane)
    out = np.full((side, side, *plane.shape[2:]), value, np.uint8)
    out[:height, :width] = plane
    return out
