"""Intersection over union from confusion matrices (NumPy alone, so that tables need no torch)."""

from __future__ import annotations

import numpy as np


def iou(matrix: np.ndarray) -> list[float | None]:
    """Return each class's intersection over union from a (C, C) confusion matrix (rows: truth).

    A class without a labelled or predicted pixel has no IoU: None.
    """
    counts = matrix.astype(np.float64)
    hit = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - hit
    return [float(h / u) if u > 0 else None for h, u in zip(hit, union, strict=True)]


def miou(matrix: np.ndarray) -> float:
    """Return the mean of the classes that have an IoU, in 0..1; 0.0 where none has.

    Equals mmsegmentation's IoUMetric (``nanmean`` over classes), whose union is empty for the same classes.
    """
    values = [value for value in iou(matrix) if value is not None]
    return sum(values) / len(values) if values else 0.0
