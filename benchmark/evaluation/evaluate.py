"""Compute confusion matrices of a model on a data set.

There is one confusion matrix per image: mIoU needs only their sum, but bootstrap intervals resample images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from benchmark.data.loader import EvaluationItem
    from benchmark.labelsets import Merge
    from benchmark.models.segmenter import Segmenter
    from benchmark.protocol import Evaluation

IGNORE = 255
CHUNK = 1 << 18
"""Pixels counted at a time, few enough for intermediate results to stay in the CPU cache."""
Look = Callable[["EvaluationItem", torch.Tensor], None]
"""Callback that gets a sample and its scores, (C, H0, W0), at the size of the label. If predictions are merged, the
scores are those of the classes merged into and, last, of no counterpart."""


def unseen(sample: EvaluationItem, scores: torch.Tensor) -> None:
    """Do nothing: the default callback."""


def each_of(*callbacks: Look) -> Look:
    """Return a callback that calls all of ``callbacks`` in order."""

    def call_all(sample: EvaluationItem, scores: torch.Tensor) -> None:
        for callback in callbacks:
            callback(sample, scores)

    return call_all


def merged(scores: torch.Tensor, merge: Merge, by: str) -> torch.Tensor:
    """Return the scores of the classes into which predictions are merged.

    Args:
        scores: (C, H, W), logits.
        merge: the merge into K classes.
        by: ``argmax`` or ``probability``, see :class:`benchmark.protocol.Evaluation`.

    Returns:
        (K + 1, H, W) float32, the last for no counterpart: 1 for the class that the highest score is merged into and 0
        for the others, or the sums of probabilities.
    """
    index = torch.tensor(merge.index, device=scores.device)
    found = scores.new_zeros((len(merge.into.classes) + 1, *scores.shape[1:]), dtype=torch.float32)
    if by == "probability":
        return found.index_add_(0, index, scores.float().softmax(0))
    return found.scatter_(0, index[scores.argmax(0)][None], 1.0)


def confusion(prediction: torch.Tensor, label: torch.Tensor, classes: int, columns: int | None = None) -> np.ndarray:
    """Count pixels by (true class, predicted class).

    Args:
        prediction: (H, W) integer classes 0..columns - 1.
        label: (H, W) integer classes, 255 = ignore.
        classes: number of classes C.
        columns: number of predicted classes P; by default C.

    Returns:
        (C, P) int32; rows: truth, columns: prediction.
    """
    columns = columns or classes
    # Ignored pixels are counted as class 255 and that row is dropped, which is faster than masking them.
    counts = torch.zeros((IGNORE + 1) * columns, dtype=torch.int64, device=label.device)
    for truth, guess in zip(label.flatten().split(CHUNK), prediction.flatten().split(CHUNK), strict=True):
        counts += torch.bincount((truth.int() * columns).add_(guess), minlength=len(counts))
    counts = counts.reshape(-1, columns)
    assert not counts[classes:IGNORE].any()
    return counts[:classes].cpu().numpy().astype(np.int32)


@torch.no_grad()
def evaluate(
    segmenter: Segmenter,
    samples: Iterable[EvaluationItem],
    classes: int,
    spec: Evaluation,
    device: torch.device,
    tick: Callable[[], None] = lambda: None,
    look: Look = unseen,
    merge: Merge | None = None,
) -> np.ndarray:
    """Evaluate a segmenter on a data set.

    Args:
        segmenter: is set to eval mode.
        samples: one image each: ``image`` (3, H, W) float in 0..255, ``label`` (H0, W0) at its original size.
        classes: number of classes C that the segmenter predicts.
        spec: the protocol's evaluation section.
        device: device of the segmenter.
        tick: called after each image.
        look: called with each sample and its scores.
        merge: merges predictions into the K classes of the labels.

    Returns:
        (N, C, C) int32, one confusion matrix per image, in order; N may be 0. With ``merge`` (N, K, K + 1), whose last
        column counts predictions that have no counterpart in the labels.
    """
    segmenter.eval()
    rows, columns = (classes, classes) if merge is None else (len(merge.into.classes), len(merge.into.classes) + 1)
    matrices = []
    for sample in samples:
        image, label = sample["image"].to(device), sample["label"].to(device)
        logits = segmenter.predict(image[None], mode=spec.mode, crop=spec.crop or 0, stride=spec.stride or 0)
        if logits.shape[-2:] != label.shape:
            logits = F.interpolate(logits.float(), label.shape, mode="bilinear", align_corners=False)
        scores = logits[0] if merge is None else merged(logits[0], merge, spec.merge_by)
        matrices.append(confusion(scores.argmax(0), label, rows, columns))
        look(sample, scores)
        tick()
    return np.stack(matrices) if matrices else np.zeros((0, rows, columns), np.int32)
