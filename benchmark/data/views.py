"""Views of a dataset's reader that change its pixels or combine several readers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import cv2
import numpy as np
from PIL import Image

from benchmark.data.labels import Bytes
from benchmark.data.samples import Sample, SampleReader


class Halved:
    """Images and labels at half their size, rounded down.

    Uses Pillow's filters, as the script with which Rein and others halve Mapillary Vistas does; unlike here, that
    script then saves the images as JPEG again.
    """

    def __init__(self, reader: SampleReader) -> None:
        self._reader = reader

    def read(self, sample: Sample) -> tuple[Bytes, Bytes]:
        """Return image (H // 2, W // 2, 3) and train ids (H // 2, W // 2); see ``Reader.read``."""
        image, label = self._reader.read(sample)
        size = (max(label.shape[1] // 2, 1), max(label.shape[0] // 2, 1))
        return (
            np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)),
            np.array(Image.fromarray(label).resize(size, Image.Resampling.NEAREST)),
        )


class Relabelled:
    """Labels in another label set.

    Args:
        reader: reads image and label.
        lut: uint8 (256,), the new train id of each train id.
    """

    def __init__(self, reader: SampleReader, lut: Bytes) -> None:
        self._reader, self._lut = reader, lut

    def read(self, sample: Sample) -> tuple[Bytes, Bytes]:
        """Return image (H, W, 3) and train ids (H, W) in the other set; see ``Reader.read``."""
        image, label = self._reader.read(sample)
        return image, np.asarray(cv2.LUT(label, self._lut), np.uint8)


class Joint:
    """Several datasets as one. Each sample id begins with the name of its dataset (``gta5/00001``)."""

    def __init__(self, readers: Mapping[str, SampleReader]) -> None:
        self._readers = readers

    def read(self, sample: Sample) -> tuple[Bytes, Bytes]:
        """Return image (H, W, 3) and train ids (H, W), read by the dataset's reader; see ``Reader.read``."""
        dataset, _, inner = sample.id.partition("/")
        return self._readers[dataset].read(replace(sample, id=inner))
