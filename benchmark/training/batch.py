"""A rank's images of one batch, and the micro-batches they are processed in."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from benchmark.common.microbatch import MicroBatch


@dataclass(frozen=True)
class Batch:
    """Some images of the protocol's batch, with their labels.

    Attributes:
        images: (B, 3, H, W) float, RGB in 0..255.
        labels: (B, H, W) int64, 255 where no class applies.
        rows: which images of the whole batch these are.
        last: whether they are the last micro-batch, after which ranks exchange gradients.
    """

    images: Tensor
    labels: Tensor
    rows: MicroBatch
    last: bool = True

    def split(self, count: int) -> list[Batch]:
        """Return ``count`` micro-batches of equal size, in the images' order."""
        parts = zip(self.images.chunk(count), self.labels.chunk(count), strict=True)
        return [
            Batch(images, labels, MicroBatch(self.rows.index * count + place, self.rows.of * count), place == count - 1)
            for place, (images, labels) in enumerate(parts)
        ]
