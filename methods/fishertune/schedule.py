"""Schedule of the fraction of weights that train (Eq. 16)."""

from __future__ import annotations

import math

STAGES = 32  # maximum number of changes of the selection; each adds a cohort to the optimizer


def share_at(progress: float, start: float, end: float, reading: str = "widening") -> float:
    """Return the fraction of weights that train at ``progress`` = t / T in [0, 1].

    The printed equation, start + (end - start) e^{-t/T} (``literal``), decreases from ``end``, but the text says that
    training starts with the top δ_min and widens to the top δ_max. ``widening`` mirrors and rescales the exponential
    accordingly: end - (end - start) (e^{-t/T} - e^{-1}) / (1 - e^{-1}), exactly ``start`` at 0 and ``end`` at 1.
    """
    if reading == "literal":
        return start + (end - start) * math.exp(-progress)
    if progress >= 1:
        return end  # without rounding error
    last = math.exp(-1)
    return end - (end - start) * (math.exp(-progress) - last) / (1 - last)


def stage(step: int, steps: int) -> float:
    """Return the progress t / T at ``step`` (0 to ``steps`` - 1), rounded down to stages: 0 at first, 1 at last."""
    if steps <= 1:
        return 1.0
    stages = min(STAGES, steps - 1)
    return step * stages // (steps - 1) / stages
