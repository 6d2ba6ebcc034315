"""Estimators of the Fisher information behind one small interface: feed batches, then read F."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from benchmark.method import UserError, processes
from methods.fishertune.fisher import Losses, per_batch, per_sample
from methods.fishertune.spool import Spool

ALL = slice(None)


class NotFiniteError(UserError):
    """A gradient is NaN or infinite; the message names the weight."""


class Estimator(ABC):
    """Estimates one non-negative value per weight, on one domain.

    Args:
        weights: the matrices, by name.

    Attributes:
        count: how much evidence the estimate rests on; what several estimates are weighted by.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = weights
        self.count = 0

    @abstractmethod
    def update(self, losses: Losses, noise: int) -> None:
        """Learn from one batch.

        Args:
            losses: runs the model on it; may be called more than once, always with the same outcome.
            noise: seed of whatever the estimator draws; x and x' are given the same.

        Raises:
            NotFiniteError: a gradient is NaN or infinite.
        """

    @abstractmethod
    def fisher(self, name: str, rows: slice = ALL) -> Tensor:
        """Return the estimate so far of a matrix's rows, (rows, in); zeros before the first batch."""

    def convergence(self) -> float | None:
        """Return how much of the estimate is signal, 0 to 1; None where the estimator cannot tell."""
        return None

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed estimate needs."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""


class SquaredGradients(Estimator):
    """The mean of squared gradients, of single samples (Eq. 9) or of whole batches.

    With several processes each sees its own images, as many as any other, and all end with the same estimate.

    Args:
        weights: the matrices, by name.
        unit: ``per-sample`` or ``per-batch``.
    """

    def __init__(self, weights: Mapping[str, Tensor], unit: str) -> None:
        super().__init__(weights)
        self._unit = unit
        self._sums = Spool(weights)

    def update(self, losses: Losses, noise: int) -> None:
        """Add one batch's squares; nothing is drawn."""
        size = 1

        def counted() -> Tensor:
            nonlocal size
            values = losses()
            size = values.shape[0] * processes()
            return values

        single = self._unit == "per-sample"
        for name, square in per_sample(counted, self.weights) if single else per_batch(losses, self.weights):
            if not bool(square.isfinite().all()):
                raise NotFiniteError(f"the gradient of {name} is not finite")
            self._sums.add(name, square)
        self.count += size

    def fisher(self, name: str, rows: slice = ALL) -> Tensor:
        """Return sums / count, on the CPU."""
        return self._sums[name][rows] / max(self.count, 1)

    def state_dict(self) -> dict[str, Any]:
        """Return the sums and how many squares are in them."""
        return {"sums": self._sums.tensors(), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the sums back."""
        self._sums = Spool(self.weights)
        for name, total in state["sums"].items():
            self._sums.add(name, total)
        self.count = state["count"]


def average(estimators: Sequence[Estimator], name: str, rows: slice = ALL) -> Tensor:
    """Return the mean of several estimates of a matrix's rows, weighted by evidence; zeros where there is none."""
    total = max(sum(estimator.count for estimator in estimators), 1)
    first, *others = (estimator.fisher(name, rows).mul_(estimator.count / total) for estimator in estimators)
    for other in others:
        first.add_(other)
    return first
