"""Rare-class sampling: images with rare classes are trained on more often.

DAFormer: Hoyer et al., DAFormer: Improving Network Architectures and Training Strategies for Domain-Adaptive Semantic
Segmentation, CVPR 2022, Eq. 7 and 8.
"""

from __future__ import annotations

import hashlib
import io
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.common.atomic import write_file
from benchmark.data import location
from benchmark.data.labels import IGNORE
from benchmark.data.loader import Frames

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class RareClasses:
    """Draws a class, then an image that contains it, uniformly.

    Unlike DAFormer's released code, which draws a crop again while it shows too little of the class, crops are those of
    every protocol.

    Attributes:
        probability: (C,) that a class is drawn; 0 for a class that no image contains.
        images: for each class, the indices of the images that contain it.
    """

    probability: NDArray[np.float64]
    images: tuple[Counts, ...]

    @classmethod
    def of(cls, pixels: Counts, temperature: float, min_pixels: int = 1) -> RareClasses:
        """Return the sampling of images with these classes.

        Class c with frequency f_c among all labelled pixels is drawn with probability
        exp((1 - f_c) / T) / Σ_k exp((1 - f_k) / T), where k runs over the classes that an image contains.

        Args:
            pixels: (N, C), the number of pixels of each class in each image.
            temperature: T; the smaller, the more often rare classes are drawn.
            min_pixels: an image with fewer pixels of a class does not contain it.

        Raises:
            ValueError: no image contains a class.
        """
        contained = pixels >= min_pixels
        present = contained.any(0)
        if not present.any():
            raise ValueError(f"no image has {min_pixels} pixels of a class")
        frequency = pixels.sum(0) / pixels.sum()
        exponent = np.where(present, (1 - frequency) / temperature, -np.inf)
        weight = np.exp(exponent - exponent.max())  # the same ratios, without overflow for a small T
        return cls(weight / weight.sum(), tuple(np.flatnonzero(each) for each in contained.T))

    def draw(self, rng: np.random.Generator) -> int:
        """Return the index of an image."""
        images = self.images[rng.choice(len(self.probability), p=self.probability)]
        return int(images[rng.integers(len(images))])


def pixels(frames: Frames, classes: int) -> Counts:
    """Return the number of pixels of each class in each image, (N, C), by reading every label.

    Raises:
        UserError: a file is bad; see ``Reader.read``.
    """
    found = np.zeros((len(frames), classes), np.int64)
    for index in range(len(frames)):
        _, label = frames[index]
        found[index] = np.bincount(label.ravel(), minlength=IGNORE + 1)[:classes]
    return found


def kept_pixels(frames: Frames, classes: int, read_as: object) -> Counts:
    """Return :func:`pixels` from the cache; if it does not have them, count and store them.

    Args:
        frames: the images.
        classes: number of classes.
        read_as: JSON-ready; what else decides which label a file is read as.

    Raises:
        UserError: a file is bad; see ``Reader.read``.
    """
    stated = [(sample.id, sample.label.stat().st_size) for sample in frames.samples]
    name = hashlib.sha256(json.dumps([stated, classes, read_as], sort_keys=True).encode()).hexdigest()
    place = location.cache() / "pixels" / f"{name}.npy"
    found = _read(place)
    if found is None or found.shape != (len(frames), classes):
        found = pixels(frames, classes)
        packed = io.BytesIO()
        np.save(packed, found, allow_pickle=False)
        with suppress(OSError):  # without a writable cache they are counted again in the next run
            write_file(place, packed.getvalue())
    return found


def _read(place: Path) -> Counts | None:
    """Return stored counts; None if there are none or they are damaged."""
    try:
        found = np.load(place, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if isinstance(found, np.ndarray) and found.dtype == np.int64 else None
