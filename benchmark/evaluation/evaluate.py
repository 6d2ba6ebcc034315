"""From a model and a data set to confusion matrices.

Confusion is kept per image: the score needs only its sum, the intervals of a table need the images.
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
"""Pixels that are counted together; what is computed of them stays in a processor's cache."""
Look = Callable[["EvaluationItem", torch.Tensor], None]
"""Shown a sample and its scores, (C, H0, W0), at the label's size."""


def unseen(sample: EvaluationItem, scores: torch.Tensor) -> None:
    """Look at nothing."""


def each_of(*looks: Look) -> Look:
    """Return what shows a sample and its scores to all of ``looks``."""

    def see(sample: EvaluationItem, scores: torch.Tensor) -> None:
        for look in looks:
            look(sample, scores)

    return see


def confusion(prediction: torch.Tensor, label: torch.Tensor, classes: int) -> np.ndarray:
    """Count pixels by (true class, predicted class).

    Args:
        prediction: (H, W) integer classes 0..classes - 1.
        label: (H, W) integer classes, 255 where nothing applies; such pixels are not counted.
        classes: number of classes C.

    Returns:
        (C, C) int32; row: truth, column: prediction.
    """
    # Ignored pixels are counted too, as truth 255, and their row left out: faster than to pick out the others.
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
    """Score a segmenter on a data set.

    Args:
        segmenter: put into eval mode here.
        samples: one image each: ``image`` (3, H, W) float in 0..255, ``label`` (H0, W0) at its own size.
        classes: number of classes C.
        spec: the protocol's inference mode.
        device: where the segmenter is.
        tick: called after each image.
        look: called with each image's scores.

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
