"""The estimates of one run, on x and on x', and the scores of the weights that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmark.method import Candidate, EstimationBatch, UserError
from methods.fishertune.computed import Computed
from methods.fishertune.domain import UnseenDomain
from methods.fishertune.drfim import delta_f, drf, in_units, mean
from methods.fishertune.estimators import Estimator, NotFiniteError, SquaredGradients, average
from methods.fishertune.fisher import sample_labels, sample_losses
from methods.fishertune.settings import FisherTuneSettings
from methods.fishertune.variational import Variational

HALVES = 2  # even and odd steps give separate estimates, to measure how well two estimates agree
BOTH = tuple(range(HALVES))
PASSES = {"per-sample": 1, "per-batch": 1, "variational": 2}  # forward and backward, per batch and domain


def domains(settings: FisherTuneSettings) -> int:
    """Return how many estimates there are per half: on x, on x', and on x weighted by the damping of its x'."""
    return 2 if settings.damping_per == "estimate" else 3


class Estimates:
    """Fisher information on x and x', in two halves.

    With ``damping_per`` of ``batch`` or ``sample``, ΔF compares estimates in which each sample i counts exp(-(ε_μ +
    ε_σ)) of its shift: Σ w_i F_i(x) / Σ w_i and Σ w_i F_i(x') / Σ w_i. F itself stays unweighted.

    Args:
        settings: the hyperparameters.
        candidates: the weights to score.
        domain: makes x' of x.
    """

    def __init__(self, settings: FisherTuneSettings, candidates: Sequence[Candidate], domain: UnseenDomain) -> None:
        self.settings, self.candidates, self._domain = settings, candidates, domain
        self._matrices = {candidate.name: candidate.parameter for candidate in candidates}
        self.seen = self._make()
        self.shifted = self._make()
        self.weighted = self._make() if domains(settings) == 3 else []
        self.dampings: list[float] = []
        self.evaluations = 0

    def _make(self) -> list[Estimator]:
        if self.settings.estimator == "variational":
            squares = sum(matrix.detach().square().sum().item() for matrix in self._matrices.values())
            size = sum(matrix.numel() for matrix in self._matrices.values())
            tau = self.settings.tau * (squares / size) ** 0.5
            return [Variational(self._matrices, tau, prior=self.settings.prior) for _ in BOTH]
        return [SquaredGradients(self._matrices, self.settings.estimator) for _ in BOTH]

    def observe(self, batch: EstimationBatch) -> None:
        """Update the estimates of one half with a batch.

        Raises:
            UserError: a gradient is NaN or infinite.
        """
        half = batch.step % HALVES
        # x and x' share the random numbers for labels and those of the estimator.
        uniforms = batch.micro_batch.draw(torch.rand, batch.labels.shape, batch.rng)
        noise = int(torch.randint(2**62, (), generator=batch.rng))
        given = batch.labels if self.settings.labels == "ground-truth" else None
        labels = self._update(self.seen[half], batch, uniforms, noise, given)
        labels = given if self.settings.shifted_labels == "redrawn" else labels
        with self._domain.entered(batch.rng, batch.micro_batch):
            self._update(self.shifted[half], batch, uniforms, noise, labels, shifted=True)
        if self.weighted:
            self._update(self.weighted[half], batch, uniforms, noise, labels, weigh=True)
        self.dampings.append(self._damping())

    def _damping(self) -> float:
        """Return the damping of the last batch: the mean over its samples if each has its own."""
        if self.settings.damping_per == "sample":
            return self._domain.dampings(self.settings.damping).mean().item()
        return self._domain.damping(self.settings.damping)

    def _weights(self) -> Tensor | float:
        """Return the weight of each of this rank's samples in ΔF."""
        if self.settings.damping_per == "sample":
            return self._domain.own(self._domain.dampings(self.settings.damping))
        return self._domain.damping(self.settings.damping)

    def _update(
        self,
        estimator: Estimator,
        batch: EstimationBatch,
        uniforms: Tensor,
        noise: int,
        labels: Tensor | None,
        *,
        shifted: bool = False,
        weigh: bool = False,
    ) -> Tensor | None:
        """Update one estimator with one batch; return the labels used."""
        # The square of a gradient has the square of the weight, the curvature of a loss the weight itself.
        power = 1.0 if self.settings.estimator == "variational" else 0.5

        def losses() -> Tensor:
            nonlocal labels
            self.evaluations += batch.images.shape[0] * batch.micro_batch.of
            logits = batch.logits(self._domain.images(batch.images) if shifted else batch.images)
            if labels is None:  # drawn in the first pass and reused in later ones
                labels = sample_labels(logits, uniforms)
            values = sample_losses(logits, labels)
            if weigh or (shifted and self.weighted):
                weights = torch.as_tensor(self._weights()).to(values)
                values = values * weights**power
            return values

        try:
            estimator.update(losses, noise)
        except NotFiniteError as error:
            raise UserError(
                f"fishertune: {error} at estimation step {batch.step} on {'x' + chr(39) * shifted}; lower "
                "the learning rate of the decoder, or perturb another position (place)"
            ) from None
        return labels

    def mean(self, estimators: Sequence[Estimator], halves: Sequence[int] = BOTH) -> Computed:
        """Return the mean of the estimates of some halves, per candidate."""
        places = {f"{c.name}[{c.group}]": (c.name, c.rows) for c in self.candidates}
        chosen = [estimators[half] for half in halves]
        return Computed(places, lambda name: average(chosen, *places[name]))

    def damping(self, halves: Sequence[int] = BOTH) -> float:
        """Return exp(-(ε_μ + ε_σ)), averaged over the batches of some halves."""
        values = [value for step, value in enumerate(self.dampings) if step % HALVES in halves]
        return sum(values) / len(values)

    def shifted_mean(self, halves: Sequence[int] = BOTH) -> Computed:
        """Return F(x'), per candidate."""
        return self._undamped(self.shifted, halves) if self.weighted else self.mean(self.shifted, halves)

    def _undamped(self, estimators: Sequence[Estimator], halves: Sequence[int]) -> Computed:
        """Return the mean of estimates in which each sample has a weight, divided by the mean weight."""
        return in_units(self.mean(estimators, halves), self.damping(halves))

    def scores(self, criterion: str, halves: Sequence[int] = BOTH) -> Computed:
        """Return ``f``, ``delta-f`` or ``drf`` per candidate, from the given halves of the steps.

        Raises:
            UserError: the Fisher information of every weight is 0.
        """
        seen, shifted = self.mean(self.seen, halves), self.shifted_mean(halves)
        unit = mean(seen)
        if unit < torch.finfo(torch.float32).tiny:  # smaller values are denormal, so ratios lose precision
            raise UserError(
                f"fishertune: the Fisher information of every weight is 0 after {len(self.dampings)} estimation "
                "steps, so the loss does not depend on the backbone; use a longer decoder warm-up (protocol: "
                "decoder.warmup)"
            )
        if criterion == "f":
            return seen
        unit = 1.0 if self.settings.scale == "none" else unit
        seen, shifted = in_units(seen, unit), in_units(shifted, unit)
        before = in_units(self._undamped(self.weighted, halves), unit) if self.weighted else seen
        if criterion == "delta-f":
            return delta_f(before, shifted, self.settings.prior)
        return drf(
            seen, shifted, self.damping(halves), prior=self.settings.prior, scale=self.settings.scale, before=before
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the estimates."""
        return {
            "seen": [estimator.state_dict() for estimator in self.seen],
            "shifted": [estimator.state_dict() for estimator in self.shifted],
            "weighted": [estimator.state_dict() for estimator in self.weighted],
            "dampings": self.dampings,
            "evaluations": self.evaluations,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        for name in ("seen", "shifted", "weighted"):
            for estimator, values in zip(getattr(self, name), state[name], strict=True):
                estimator.load_state_dict(values)
        self.dampings, self.evaluations = list(state["dampings"]), state["evaluations"]
