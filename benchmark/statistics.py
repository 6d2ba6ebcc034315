"""The numbers that tables rest on: IoU from confusion matrices, and how sure a difference is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def iou(confusion: npt.NDArray[Any]) -> Floats:
    """Return the intersection over union of every class, as mmsegmentation's IoUMetric defines it.

    Args:
        confusion: (..., C, C) pixel counts, [truth, prediction], summed over images.

    Returns:
        (..., C), between 0 and 1; NaN for a class in neither truth nor prediction.
    """
    counts = confusion.astype(np.float64)
    hit = np.diagonal(counts, axis1=-2, axis2=-1)
    return iou_of(hit, counts.sum(-1) + counts.sum(-2) - hit)


def iou_of(intersection: npt.NDArray[Any], union: npt.NDArray[Any]) -> Floats:
    """Return intersection / union, NaN where the union is empty."""
    absent = np.full(np.shape(union), np.nan)
    return np.divide(intersection, union, out=absent, where=np.asarray(union) > 0)


def miou(confusion: npt.NDArray[Any]) -> Floats:
    """Return the mean IoU over the classes that occur: (..., C, C) -> (...).

    Raises:
        ValueError: no pixel was counted, so that no class has an IoU.
    """
    each = iou(confusion)
    if np.isnan(each).all(-1).any():
        raise ValueError("a confusion matrix counts no pixel: mIoU is undefined")
    return np.asarray(np.nanmean(each, axis=-1))
