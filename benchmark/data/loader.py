"""Torch datasets: training crops in a reproducible order, and whole images for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol, TypedDict

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from benchmark.common.rng import numpy_rng
from benchmark.data.augment import Settings, train_transform
from benchmark.data.labels import Bytes
from benchmark.data.samples import Sample, SampleReader

MEMORY = 2 << 30


class TrainingItem(TypedDict):
    """image: float32 (3, crop, crop), RGB 0-255; label: int64 (crop, crop), 255 = ignore; id: sample id."""

    image: torch.Tensor
    label: torch.Tensor
    id: str


class EvaluationItem(TypedDict):
    """image: float32 (3, H, W), RGB 0-255; label: uint8 (H0, W0) at its original size; id: sample id."""

    image: torch.Tensor
    label: torch.Tensor
    id: str


class Sampling(Protocol):
    """Draws the samples to train on, instead of visiting each once per epoch."""

    def draw(self, rng: np.random.Generator) -> int:
        """Return the index of a sample."""


class Frames:
    """Decoded samples by index, cached if the whole set is expected to fit into ``memory`` bytes.

    The estimate is based on the size of the first frame read. If later frames are larger, caching stops once
    ``memory`` is full. Each data-loader worker has its own cache.
    """

    def __init__(self, samples: Sequence[Sample], reader: SampleReader, memory: int = MEMORY) -> None:
        self.samples = tuple(samples)
        self._reader = reader
        self._memory = memory
        self._used = 0
        self._kept: dict[int, tuple[Bytes, Bytes]] = {}
        self._keep: bool | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Bytes, Bytes]:
        """Return image (H, W, 3) and train ids (H, W) of sample ``index``. Do not modify them: they may be cached.

        Raises:
            UserError: a file is bad; see ``Reader.read``.
        """
        if index in self._kept:
            return self._kept[index]
        image, label = self._reader.read(self.samples[index])
        size = image.nbytes + label.nbytes
        if self._keep is None:
            self._keep = size * len(self.samples) <= self._memory
        if self._keep and self._used + size <= self._memory:
            self._used += size
            self._kept[index] = image, label
        return image, label


class TrainingSet(Dataset[TrainingItem]):
    """Training crops by position p = 0, 1, ..., without end; the crop at a position is always the same.

    With n samples, position p is in epoch p // n. Each epoch visits every sample once, in an order drawn from
    the RNG stream (seed, "order", epoch). With ``sampling``, each position draws its sample from the RNG stream
    (seed, "sampling", p) instead. Augmentation draws from the RNG stream (seed, "augment", p). All methods, numbers of
    data-loader workers and resumed runs therefore see the same pixels.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        reader: SampleReader,
        augmentation: Settings,
        *,
        seed: int,
        memory: int = MEMORY,
        sampling: Sampling | None = None,
    ) -> None:
        self.frames = Frames(samples, reader, memory)
        self.sampling = sampling
        self._augmentation, self._seed = augmentation, seed

    def index(self, position: int) -> int:
        """Return the index of the sample at ``position``."""
        if self.sampling is not None:
            return self.sampling.draw(numpy_rng(self._seed, "sampling", position))
        epoch, step = divmod(position, len(self.frames))
        return int(_order(self._seed, epoch, len(self.frames))[step])

    def __getitem__(self, position: int) -> TrainingItem:
        """Return the crop at ``position``.

        Raises:
            IndexError: ``position`` is negative.
            UserError: a file is bad; see ``Reader.read``.
        """
        if position < 0:
            raise IndexError(f"position {position} of a training set is negative")
        index = self.index(position)
        rng = numpy_rng(self._seed, "augment", position)
        image, label = train_transform(*self.frames[index], rng, self._augmentation)
        return {
            "image": planes(image),
            "label": torch.from_numpy(label.astype(np.int64)),
            "id": self.frames.samples[index].id,
        }


class EvaluationSet(Dataset[EvaluationItem]):
    """Whole images sorted by id, with labels at their original size. Nothing is cached.

    ``test_size`` (two edges in pixels, in any order) scales each image, aspect ratio kept, to the largest size whose
    long edge is within the longer limit and whose short edge is within the shorter; None keeps the size.
    """

    def __init__(
        self, samples: Sequence[Sample], reader: SampleReader, *, test_size: tuple[int, int] | None = None
    ) -> None:
        self.samples = tuple(samples)
        self._reader, self._test_size = reader, test_size

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> EvaluationItem:
        """Return sample ``index``.

        Raises:
            UserError: a file is bad; see ``Reader.read``.
        """
        sample = self.samples[index]
        image, label = self._reader.read(sample)
        if self._test_size is not None:
            size = fitted(image.shape[:2], self._test_size)
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        return {"image": planes(image), "label": torch.from_numpy(label), "id": sample.id}


def planes(image: Bytes) -> torch.Tensor:
    """Return an image (H, W, 3) as a float32 tensor (3, H, W), values unchanged."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()


def fitted(size: tuple[int, ...], limits: tuple[int, int]) -> tuple[int, int]:
    """Return (width, height) of an image of ``size`` (height, width) scaled to fit into ``limits``."""
    height, width = size[:2]
    scale = min(max(limits) / max(height, width), min(limits) / min(height, width))
    return max(int(width * scale + 0.5), 1), max(int(height * scale + 0.5), 1)


@lru_cache(maxsize=8)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return numpy_rng(seed, "order", epoch).permutation(count)
