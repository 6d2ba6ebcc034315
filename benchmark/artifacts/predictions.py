"""Example predictions of a finished run: class maps of a few images per domain, saved next to its record.

The images are the first of each domain by id, the same for every method. Class maps have the size of the label; the
images themselves are not saved. With the label, a class map gives the confusion matrix of that image in the record.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.common.errors import UserError
from benchmark.records import Record, arrays
from benchmark.records.store import UNREADABLE

if TYPE_CHECKING:
    import torch

    from benchmark.data.loader import EvaluationItem
    from benchmark.evaluation.evaluate import Look

Bytes = NDArray[np.uint8]
IMAGES = 2
PIXELS = 1 << 26
"""Most pixels of an image: 8192x8192."""


class Examples:
    """The first predictions of the latest evaluation of each domain: uint8 (H, W), by domain."""

    def __init__(self) -> None:
        self.maps: dict[str, list[Bytes]] = {}

    def of(self, domain: str) -> Look:
        """Return a callback that saves the first predictions of a new evaluation of ``domain``."""
        kept = self.maps[domain] = []

        def see(sample: EvaluationItem, scores: torch.Tensor) -> None:
            if len(kept) < IMAGES:
                kept.append(scores.argmax(0).byte().cpu().numpy())

        return see

    def packed(self) -> bytes:
        """Return the file that :func:`examples` reads, as bytes; equal maps give equal bytes."""
        arrays: dict[str, NDArray[Any]] = {
            f"{domain}/{place}": each for domain, maps in self.maps.items() for place, each in enumerate(maps)
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()


def kept(record: Record) -> bool:
    """Return whether the file of predictions exists; shared runs have none."""
    path = record.path
    return record.examples is not None and path is not None and path.with_name(record.examples.file).exists()


def examples(record: Record) -> Mapping[str, list[Bytes]]:
    """Return the predictions of a stored run by domain: uint8 (H, W), in the order of image ids.

    Raises:
        UserError: the run has none, the file does not match its hash in the record, or an array is not a class map.
    """
    found: dict[str, list[Bytes]] = {}
    try:
        packed = arrays(record, "examples", IMAGES * PIXELS * len(record.scores()))
    except UNREADABLE as error:
        raise UserError(f"{record.path}: examples: not an archive of class maps ({error}); run it again") from None
    for key, each in packed.items():
        most = record.predicted(key.rpartition("/")[0])
        if each.dtype != np.uint8 or each.ndim != 2 or each.max(initial=0) >= most:
            raise UserError(f"{record.path}: examples: {key} is not a class map of this record; run it again")
        found.setdefault(key.rpartition("/")[0], []).append(each)
    return found
