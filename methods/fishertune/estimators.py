"""Estimators of the Fisher information with a common interface: feed batches, then read F."""

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
        count: amount of data seen; the weight of this estimate in :func:`average`.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = weights
        self.count = 0

    @abstractmethod
    def update(self, losses: Losses, noise: int) -> None:
        """Update the estimate with one batch.

        Args:
            losses: runs the model on the batch; may be called more than once, always with the same result.
            noise: seed for random numbers of the estimator; x and x' use the same.

        Raises:
            NotFiniteError: a gradient is NaN or infinite.
        """

    @abstractmethod
    def fisher(self, name: str, rows: slice = ALL) -> Tensor:
        """Return the current estimate for rows of a matrix, (rows, in); zeros before the first batch."""

    def convergence(self) -> float | None:
        """Return the fraction of the estimate that is signal, 0 to 1; None if the estimator does not provide it."""
        return None

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return the state needed to resume."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""


class SquaredGradients(Estimator):
    """The mean of squared gradients, per sample (Eq. 9) or per batch.

    In distributed training each rank processes its own images, equally many, and all get the same estimate.

    Args:
        weights: the matrices, by name.
        unit: ``per-sample`` or ``per-batch``.
    """

    def __init__(self, weights: Mapping[str, Tensor], unit: str) -> None:
        super().__init__(weights)
        self._unit = unit
        self._sums = Spool(weights)

    def update(self, losses: Losses, noise: int) -> None:
        """Add the squared gradients of one batch; ``noise`` is not used."""
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
        """Return the sums and their number of terms."""
        return {"sums": self._sums.tensors(), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the sums."""
        self._sums = Spool(self.weights)
        for name, total in state["sums"].items():
            self._sums.add(name, total)
        self.count = state["count"]


def average(estimators: Sequence[Estimator], name: str, rows: slice = ALL) -> Tensor:
    """Return the mean of several estimates for rows of a matrix, weighted by ``count``; zeros if there is no data."""
    total = max(sum(estimator.count for estimator in estimators), 1)
    first, *others = (estimator.fisher(name, rows).mul_(estimator.count / total) for estimator in estimators)
    for other in others:
        first.add_(other)
    return first
