"""How many weights train at which time (Eq. 16)."""

from __future__ import annotations

import math

STAGES = 32  # the set changes at most so often; each stage costs the optimizer a cohort


def share_at(progress: float, start: float, end: float, reading: str = "widening") -> float:
    """Return the share of weights that train at ``progress`` = t / T in [0, 1].

    As printed, start + (end - start) e^{-t/T} (``literal``) shrinks from ``end``; the text says that training
    begins with the top δ_min and widens to the top δ_max. ``widening`` is the same exponential, turned and
    stretched to do so: end - (end - start) (e^{-t/T} - e^{-1}) / (1 - e^{-1}), exactly ``start`` at 0 and ``end``
    at 1.
    """
    if reading == "literal":
        return start + (end - start) * math.exp(-progress)
    if progress >= 1:
        return end  # not to a rounding error
    last = math.exp(-1)
    return end - (end - start) * (math.exp(-progress) - last) / (1 - last)


def stage(step: int, steps: int) -> float:
    """Return the progress t / T at ``step`` of 0..``steps`` - 1, in whole stages; 0 first and 1 last."""
    if steps <= 1:
        return 1.0
    stages = min(STAGES, steps - 1)
    return step * stages // (steps - 1) / stages
