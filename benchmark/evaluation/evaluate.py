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
    from benchmark.models.segmenter import Segmenter
    from benchmark.protocol import Evaluation

IGNORE = 255
CHUNK = 1 << 18
"""Pixels counted at a time, few enough for intermediate results to stay in the CPU cache."""
Look = Callable[["EvaluationItem", torch.Tensor], None]
"""Callback that gets a sample and its scores, (C, H0, W0), at the size of the label."""


def unseen(sample: EvaluationItem, scores: torch.Tensor) -> None:
    """Do nothing: the default callback."""


def each_of(*callbacks: Look) -> Look:
    """Return a callback that calls all of ``callbacks`` in order."""

    def call_all(sample: EvaluationItem, scores: torch.Tensor) -> None:
        for callback in callbacks:
            callback(sample, scores)

    return call_all


def confusion(prediction: torch.Tensor, label: torch.Tensor, classes: int) -> np.ndarray:
    """Count pixels by (true class, predicted class).

    Args:
        prediction: (H, W) integer classes 0..classes - 1.
        label: (H, W) integer classes, 255 = ignore.
        classes: number of classes C.

    Returns:
        (C, C) int32; rows: truth, columns: prediction.
    """
    # Ignored pixels are counted as class 255 and that row is dropped, which is faster than masking them.
    counts = torch.zeros((IGNORE + 1) * classes, dtype=torch.int64, device=label.device)
    for truth, guess in zip(label.flatten().split(CHUNK), prediction.flatten().split(CHUNK), strict=True):
        counts += torch.bincount((truth.int() * classes).add_(guess), minlength=len(counts))
    counts = counts.reshape(-1, classes)
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
) -> np.ndarray:
    """Evaluate a segmenter on a data set.

    Args:
        segmenter: is set to eval mode.
        samples: one image each: ``image`` (3, H, W) float in 0..255, ``label`` (H0, W0) at its original size.
        classes: number of classes C.
        spec: the protocol's evaluation section.
        device: device of the segmenter.
        tick: called after each image.
        look: called with each sample and its scores.

    Returns:
        (N, C, C) int32, one confusion matrix per image, in order; N may be 0.
    """
    segmenter.eval()
    matrices = []
    for sample in samples:
        image, label = sample["image"].to(device), sample["label"].to(device)
        logits = segmenter.predict(image[None], mode=spec.mode, crop=spec.crop or 0, stride=spec.stride or 0)
        if logits.shape[-2:] != label.shape:
            logits = F.interpolate(logits.float(), label.shape, mode="bilinear", align_corners=False)
        matrices.append(confusion(logits[0].argmax(0), label, classes))
        look(sample, logits[0])
        tick()
    return np.stack(matrices) if matrices else np.zeros((0, classes, classes), np.int32)
