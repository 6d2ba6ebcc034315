"""Schedule of the fraction of weights that train (Eq. 16)."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

STAGES = 32  # maximum number of changes of the selection; each adds a cohort to the optimizer
Schedule = Literal["widening", "constant", "literal", "threshold-value", "threshold-percentile"]


def share_at(progress: float, start: float, end: float, reading: Schedule = "widening") -> float:
    """Return the fraction of weights that train at ``progress`` = t / T in [0, 1].

    Eq. 16 is thresh(t) = δ_min + (δ_max - δ_min) e^{-t/T}. The text says that training starts with the top ``start``
    and widens to the top ``end``. The readings:

    - ``widening``: the equation mirrored and rescaled, end - (end - start) (e^{-t/T} - e^{-1}) / (1 - e^{-1}):
      exactly ``start`` at 0 and ``end`` at 1.
    - ``constant``: ``end`` throughout.
    - ``literal``: a fraction between δ_min = start and δ_max = end. It decreases from ``end``.
    - ``threshold-percentile``: a threshold on the percentile of DR-FIM between δ_min = 1 - end and δ_max = 1 - start:
      ``start`` at 0 and end - (end - start) / e at 1.

    ``threshold-value`` depends on the scores: :func:`above_threshold`.
    """
    match reading:
        case "constant":
            return end
        case "literal":
            return start + (end - start) * math.exp(-progress)
        case "threshold-percentile":
            return end - (end - start) * math.exp(-progress)
        case _:
            if progress >= 1:
                return end  # without rounding error
            last = math.exp(-1)
            return end - (end - start) * (math.exp(-progress) - last) / (1 - last)


def above_threshold(progress: float, scores: Tensor, start: int) -> int:
    """Return how many scores reach the threshold of Eq. 16, read as a value of DR-FIM.

    δ_max is the score of the last of the top ``start`` weights, δ_min the lowest of ``scores``, so that the threshold
    selects ``start`` weights at 0. How many it selects later depends on how the scores are distributed.

    Args:
        progress: t / T in [0, 1].
        scores: (k,), descending.
        start: at most k.
    """
    if len(scores) == 0:
        return 0
    high, low = scores[max(start, 1) - 1].double(), scores[-1].double()
    threshold = low + (high - low) * math.exp(-progress)
    return int((scores.double() >= threshold).sum())


def stage(step: int, steps: int) -> float:
    """Return the progress t / T at ``step`` (0 to ``steps`` - 1), rounded down to stages: 0 at first, 1 at last."""
    if steps <= 1:
        return 1.0
    stages = min(STAGES, steps - 1)
    return step * stages // (steps - 1) / stages
