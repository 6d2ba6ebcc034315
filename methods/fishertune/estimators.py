"""Estimators of the Fisher information behind one small interface: feed batches, then read F."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmark.method import UserError, processes, summed
from methods.fishertune.fisher import Losses, per_batch, per_sample


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
    def fisher(self) -> dict[str, Tensor]:
        """Return the estimate so far by name, (out, in) each; zeros before the first batch."""

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
        self._sums: dict[str, Tensor] = {}

    def update(self, losses: Losses, noise: int) -> None:
        """Add one batch's squares; nothing is drawn."""
        size = 1

        def counted() -> Tensor:
            nonlocal size
            values = losses()
            size = values.shape[0] * processes()
            return values

        if self._unit == "per-sample":
            squares = {name: summed(square) for name, square in per_sample(counted, self.weights).items()}
        else:
            squares = per_batch(losses, self.weights)
        for name, square in squares.items():
            if not bool(square.isfinite().all()):
                raise NotFiniteError(f"the gradient of {name} is not finite")
            self._sums[name] = self._sums[name].add_(square) if name in self._sums else square
        self.count += size

    def fisher(self) -> dict[str, Tensor]:
        """Return sums / count."""
        if not self.count:
            return {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        return {name: total / self.count for name, total in self._sums.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the sums and how many squares are in them."""
        return {"sums": self._sums, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the sums back."""
        self._sums = {name: total.to(self.weights[name].device) for name, total in state["sums"].items()}
        self.count = state["count"]


def average(estimators: Sequence[Estimator]) -> dict[str, Tensor]:
    """Return the mean of several estimates, weighted by their evidence; zeros where there is none."""
    total = max(sum(estimator.count for estimator in estimators), 1)
    found: dict[str, Tensor] = {}
    for estimator in estimators:
        for name, value in estimator.fisher().items():
            part = value * (estimator.count / total)
            found[name] = found[name].add_(part) if name in found else part
    return found
