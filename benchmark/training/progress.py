"""A run's progress, its losses and its cost so far."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

LOSS_EVERY = 10


@dataclass
class Progress:
    """A run's progress; part of every checkpoint.

    Attributes:
        step: training iterations done.
        extra: steps done on top of them.
        losses: (iteration, named losses) of every ``LOSS_EVERY``-th iteration and the last.
        seconds: wall-clock time by phase (``warm-up``, the method's phases, ``evaluation``).
        cpu_seconds: CPU time of this process, all threads.
        scores: results of the evaluations, in order.
        unreached: the method's parameters that get no gradient, with their sizes, see
            :func:`benchmark.training.reached.without_gradient`; None before the backbone trains.
        segments: under which conditions the run was executed, each with its ``first`` step; a new one begins where a
            run is resumed under others.
        warm_up: the run whose decoder warm-up this one continues; None if it trains its own.
    """

    step: int = 0
    extra: int = 0
    losses: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    scores: list[dict[str, Any]] = field(default_factory=list)
    unreached: dict[str, int] | None = None
    segments: list[dict[str, Any]] = field(default_factory=list)
    warm_up: str | None = None

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add wall-clock and CPU time of the block, also if it raises."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - wall
            self.cpu_seconds += time.process_time() - cpu

    @property
    def place(self) -> int:
        """All steps done: the position in the run's timeline."""
        return self.step + self.extra

    def begin(self, here: dict[str, Any]) -> None:
        """Note the conditions of this execution, unless they are those of the last one."""
        last = {name: value for name, value in self.segments[-1].items() if name != "first"} if self.segments else None
        if last != here:
            # A run that continues another one's warm-up begins with its first segment.
            self.segments.append({"first": self.place if self.segments else 0, **here})

    def done(self, losses: dict[str, float], total: int, *, extra: bool = False) -> None:
        """Count one iteration of ``total``, or a step on top of them; keep an iteration's losses if they are logged."""
        if extra:
            self.extra += 1
            return
        self.step += 1
        if losses and (self.step % LOSS_EVERY == 0 or self.step == total):
            self.losses.append((self.step, losses))

    def diverged(self, error: FloatingPointError, finite: dict[str, float]) -> FloatingPointError:
        """Keep the last finite losses, and return the error that names them; without any, the error unchanged."""
        if not finite:
            return error
        if not self.losses or self.losses[-1][0] < self.step:
            self.losses.append((self.step, finite))
        return FloatingPointError(f"{error}; the last finite one is {sum(finite.values()):.4g}")
