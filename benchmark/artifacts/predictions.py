"""What a finished run predicts on a few fixed images of each domain, kept beside its record to be looked at.

The images are the first of each domain in the order of their ids, so every method is seen on the same ones. Kept are
whole class maps at the label's size, and nothing of the images themselves: whoever has the data can hold a map
against the record, since with the label it makes that image's confusion matrix again.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.common.errors import UserError
from benchmark.records import Record, content

if TYPE_CHECKING:
    import torch

    from benchmark.data.loader import EvaluationItem
    from benchmark.evaluation.evaluate import Look

Bytes = NDArray[np.uint8]
IMAGES = 2


class Examples:
    """The first predictions of every domain's latest scoring: uint8 (H, W) each, by domain."""

    def __init__(self) -> None:
        self.maps: dict[str, list[Bytes]] = {}

    def of(self, domain: str) -> Look:
        """Return what keeps the first predictions of the scoring of ``domain`` that begins now."""
        kept = self.maps[domain] = []

        def see(sample: EvaluationItem, scores: torch.Tensor) -> None:
            if len(kept) < IMAGES:
                kept.append(scores.argmax(0).byte().cpu().numpy())

        return see

    def packed(self) -> bytes:
        """Return the file that :func:`examples` reads; equal maps give equal bytes."""
        arrays: dict[str, NDArray[Any]] = {
            f"{domain}/{place}": each for domain, maps in self.maps.items() for place, each in enumerate(maps)
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()


def kept(record: Record) -> bool:
    """Return whether a stored run's predictions lie beside its record; a run that was shared comes without."""
    path = record.path
    return record.examples is not None and path is not None and path.with_name(record.examples.file).exists()


def examples(record: Record) -> Mapping[str, list[Bytes]]:
    """Return a stored run's predictions by domain, uint8 (H, W) each, in the order of the images' ids.

    Raises:
        UserError: the run kept none, or the file beside its record is not the one that it was written with.
    """
    found: dict[str, list[Bytes]] = {}
    with np.load(io.BytesIO(content(record, "examples")), allow_pickle=False) as arrays:
        for key in arrays.files:
            each = arrays[key]
            if each.dtype != np.uint8 or each.ndim != 2 or each.max(initial=0) >= len(record.classes):
                raise UserError(f"{record.path}: examples: {key} is no map of the record's classes; run it again")
            found.setdefault(key.rpartition("/")[0], []).append(each)
    return found
