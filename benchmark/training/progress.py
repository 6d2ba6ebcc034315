"""How far a run has come, and what that took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

LOSS_EVERY = 10


@dataclass
class Progress:
    """How far a run has come; part of every checkpoint.

    Attributes:
        step: iterations done.
        losses: (iteration, named losses) of every ``LOSS_EVERY``-th iteration and the last.
        seconds: wall-clock time by phase (``warm-up``, the method's phases, ``evaluation``).
        cpu_seconds: processor time of this process, all threads.
        scores: what ``on_score`` returned, in order.
    """

    step: int = 0
    losses: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    scores: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add wall-clock and processor time of the block, however it ends."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - wall
            self.cpu_seconds += time.process_time() - cpu

    def done(self, losses: dict[str, float], total: int) -> None:
        """Count one iteration of ``total``, and keep its losses if they are due; it has none where it estimates."""
        self.step += 1
        if losses and (self.step % LOSS_EVERY == 0 or self.step == total):
            self.losses.append((self.step, losses))

    def diverged(self, error: FloatingPointError, good: dict[str, float]) -> FloatingPointError:
        """Keep the last good losses, and return the error that names them; with none, the error as it is."""
        if not good:
            return error
        if not self.losses or self.losses[-1][0] < self.step:
            self.losses.append((self.step, good))
        return FloatingPointError(f"{error}; the last good one is {sum(good.values()):.4g}")
