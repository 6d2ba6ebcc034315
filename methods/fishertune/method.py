"""FisherTune: tune the weights whose Fisher information is high and would change in another domain.

Algorithm 1 of the paper. T1 trains the decoder on the frozen backbone. Protocols with a decoder warm-up do this for all
methods; otherwise it is a phase of this method, since gradients through an untrained decoder carry no information about
the backbone. T2 estimates and T3 tunes. All phases together take the iterations that every method has.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from benchmark.method import Budget, EstimationBatch, Method, Phase, SparseAdamW, UserError, candidates
from benchmark.models.backbone import Backbone
from methods.fishertune.choice import Choice
from methods.fishertune.computed import Computed
from methods.fishertune.domain import UnseenDomain
from methods.fishertune.drfim import delta_f, drf, in_units, mean
from methods.fishertune.estimators import Estimator, NotFiniteError, SquaredGradients, average
from methods.fishertune.fisher import sample_labels, sample_losses
from methods.fishertune.schedule import share_at, stage
from methods.fishertune.sensitivity import means
from methods.fishertune.settings import Criterion, FisherTuneSettings
from methods.fishertune.spool import Spool
from methods.fishertune.variational import Variational

HALVES = 2  # even and odd iterations give separate estimates, to measure how well two estimates agree


class FisherTune(Method):
    """Selects weights by DR-FIM and tunes them with AdamW; all others stay bit-identical to the pre-trained ones."""

    label = "FisherTune"
    source = "Zhao et al., FisherTune, CVPR 2025"
    Settings = FisherTuneSettings

    # -- the method interface -----------------------------------------------------------------------------

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze everything except the matrices with candidates.

        Raises:
            UserError: no weight would be selected, there are too few candidates, or the backbone has no position
            ``place``.
        """
        self.begin(backbone)
        self._candidates = candidates(backbone, self.settings.groups)
        self._size = sum(parameter.numel() for parameter in backbone.parameters())
        if self.trainable() == 0:
            raise UserError(
                f"fishertune: share {self.settings.share} of backbone {backbone.name!r} selects no weight; raise share"
            )
        available = sum(candidate.numel() for candidate in self._candidates)
        if self.trainable() > available:
            raise UserError(
                f"fishertune: share {self.settings.share} of backbone {backbone.name!r} is "
                f"{self.trainable():,} weights, but {', '.join(self.settings.groups)} have {available:,}; "
                "lower share or add groups"
            )
        self._matrices = {candidate.name: candidate.parameter for candidate in self._candidates}
        for matrix in self._matrices.values():
            matrix.requires_grad_(True)
        self._domain = UnseenDomain(backbone, self.settings.place, self.settings.noise)
        self._seen: list[Estimator] = []  # per half, on x; only during the estimation phase
        self._shifted: list[Estimator] = []  # per half, on x'
        self._dampings: list[float] = []
        self._evaluations = 0
        self._choice: Choice | None = None
        self._facts: dict[str, Any] = {}

    def phases(self, budget: Budget) -> tuple[Phase, ...]:
        """Return T2 and T3, preceded by T1 if the protocol has no decoder warm-up.

        Raises:
            UserError: too few iterations for all phases.
        """
        iterations = budget.iterations
        share = 0.0 if budget.warmed else self.settings.decoder_first
        alone = max(1, round(share * iterations)) if share else 0
        rest = iterations - alone
        if rest < 2:
            before = f"decoder phase ({alone}), " if alone else ""
            raise UserError(
                f"fishertune: {iterations} iterations are too few for {before}estimation phase and tuning; use at "
                f"least {alone + 2}"
            )
        estimation = min(max(HALVES, round(self.settings.estimation * iterations)), rest - 1)
        phases = (
            Phase("estimate", estimation, backbone=False, decoder=False, estimate=True),
            Phase("tune", rest - estimation),
        )
        return (Phase("decoder", alone, backbone=False), *phases) if alone else phases

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group of the matrices with candidates, of which only selected weights are updated."""
        params = list(self._matrices.values())
        return [{"params": params, "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]

    def optimizer(self, betas: tuple[float, float], eps: float) -> SparseAdamW:
        """Return the optimizer, with no weight selected yet."""
        self._optimizer = SparseAdamW(self.parameter_groups(), betas, eps, names=self._matrices)
        return self._optimizer

    def observe_batch(self, batch: EstimationBatch) -> None:
        """Update the estimates with one batch, original (x) and perturbed as in an unseen domain (x').

        Raises:
            UserError: a gradient is NaN or infinite.
        """
        if not self._seen:
            self._seen, self._shifted = self._estimators(), self._estimators()
        half = batch.step % HALVES
        # x and x' share the random numbers for labels and those of the estimator.
        uniforms = batch.micro_batch.draw(torch.rand, batch.labels.shape, batch.rng)
        noise = int(torch.randint(2**62, (), generator=batch.rng))
        self._update(self._seen[half], batch, uniforms, noise, shifted=False)
        self._update(self._shifted[half], batch, uniforms, noise, shifted=True)
        self._dampings.append(self._domain.damping(self.settings.damping))

    def select(self) -> None:
        """Select the weights, collect the facts for the record, and free the estimates.

        Raises:
            UserError: the Fisher information of every weight is 0.
        """
        criterion, both = self.settings.criterion, tuple(range(HALVES))
        agreement = self._agreement(criterion)
        scores = self._kept(self._scores(both, criterion))
        self._choice = self._best(scores)
        if criterion != "drf":
            scores = self._scores(both, "drf")
        seen, shifted = self._mean(self._seen), self._mean(self._shifted)
        self._facts = {
            "gradient_evaluations": self._evaluations,
            "overlap_of_halves": agreement,
            "convergence": self._seen[0].convergence(),
            "damping": sum(self._dampings) / len(self._dampings),
            "mean_fisher": mean(seen),
            "mean_fisher_shifted": mean(shifted),
            "without_gradient": [name for name, value in seen.items() if not bool(value.any())],
            "chosen": self._choice.counts(),
            "sensitivity": {
                "fisher": means(self._candidates, seen),
                "fisher_shifted": means(self._candidates, shifted),
                "drf": means(self._candidates, scores),
            },
        }
        self._seen, self._shifted = [], []

    def before_step(self, step: int, steps: int) -> None:
        """Add weights to the selection when a stage begins (Eq. 16)."""
        reached = stage(step, steps)
        if step == 0 or reached != stage(step - 1, steps):
            start, end = self.settings.share_start, self.settings.share
            count = self._count(share_at(reached, start, end, self.settings.schedule))
            assert self._choice is not None
            for name, mask in self._choice.masks(count).items():
                self._optimizer.select(self._matrices[name], mask)
                if self.settings.schedule == "literal":
                    self._optimizer.unselect(self._matrices[name], ~mask)

    def choice(self, criterion: Criterion) -> Choice:
        """Return the selection from the batches so far, by a criterion of Table 4.

        Raises:
            UserError: the Fisher information of every weight is 0.
        """
        return self._best(self._kept(self._scores(tuple(range(HALVES)), criterion)))

    def evaluations(self, criterion: Criterion) -> int:
        """Return the number of per-image gradients used for that selection: F needs only x, the others x and x'."""
        return self._evaluations // 2 if criterion == "f" else self._evaluations

    def trainable(self) -> int:
        """Return the number of weights in the largest selection."""
        return self._count(self.settings.share)

    def stored_values(self) -> int:
        """Return the size of the estimates: one value per weight of the matrices, for each half, on x and x'."""
        return HALVES * 2 * sum(matrix.numel() for matrix in self._matrices.values())

    def peak_values(self) -> int:
        """Return 0: estimates, and scores during selection, are stored in a file."""
        return 0

    def delta(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the current values of the selected weights."""
        return self._optimizer.changes()

    def report(self) -> dict[str, Any]:
        """Return what was selected, how stable the selection is and what it cost.

        ``sensitivity`` has the means of F, F' and DRF over the weights of each group and block, and ``chosen`` the
        number of selected weights in each, for every criterion. Figure 6 is drawn from them.
        """
        return self._facts

    def state_dict(self) -> dict[str, Any]:
        """Return the estimates, and the selection once there is one."""
        return {
            "seen": [estimator.state_dict() for estimator in self._seen],
            "shifted": [estimator.state_dict() for estimator in self._shifted],
            "dampings": self._dampings,
            "evaluations": self._evaluations,
            "choice": None if self._choice is None else self._choice.state_dict(),
            "facts": self._facts,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._seen, self._shifted = (self._estimators() if state[key] else [] for key in ("seen", "shifted"))
        for estimators, saved in ((self._seen, state["seen"]), (self._shifted, state["shifted"])):
            for estimator, values in zip(estimators, saved, strict=True):
                estimator.load_state_dict(values)
        self._dampings, self._evaluations = list(state["dampings"]), state["evaluations"]
        choice, self._facts = state["choice"], state["facts"]
        self._choice = None if choice is None else Choice.restored(self._candidates, choice)

    # -- helpers ------------------------------------------------------------------------------------------

    def _estimators(self) -> list[Estimator]:
        if self.settings.estimator == "variational":
            squares = sum(matrix.detach().square().sum().item() for matrix in self._matrices.values())
            size = sum(matrix.numel() for matrix in self._matrices.values())
            tau = self.settings.tau * (squares / size) ** 0.5
            return [Variational(self._matrices, tau, prior=self.settings.prior) for _ in range(HALVES)]
        return [SquaredGradients(self._matrices, self.settings.estimator) for _ in range(HALVES)]

    def _count(self, share: float) -> int:
        return round(share * self._size)

    def _update(
        self, estimator: Estimator, batch: EstimationBatch, uniforms: Tensor, noise: int, *, shifted: bool
    ) -> None:
        """Update an estimator with one batch."""
        labels = batch.labels if self.settings.labels == "ground-truth" else None

        def losses() -> Tensor:
            nonlocal labels
            self._evaluations += batch.images.shape[0] * batch.micro_batch.of
            logits = batch.logits(self._domain.images(batch.images) if shifted else batch.images)
            if labels is None:  # drawn in the first pass and reused in later ones
                labels = sample_labels(logits, uniforms)
            return sample_losses(logits, labels)

        try:
            with self._domain.entered(batch.rng, batch.micro_batch) if shifted else nullcontext():
                estimator.update(losses, noise)
        except NotFiniteError as error:
            raise UserError(
                f"fishertune: {error} at estimation step {batch.step} on {'x' + chr(39) * shifted}; lower "
                "the learning rate of the decoder, or perturb another position (place)"
            ) from None

    def _agreement(self, criterion: Criterion) -> float | None:
        """Return the overlap of the selections from the two halves; None if one of them has seen no batch."""
        if not all(estimator.count for estimator in self._seen):
            return None
        first, second = (self._best(self._kept(self._scores((half,), criterion))) for half in range(HALVES))
        return first.overlap(second)

    def _best(self, scores: Computed) -> Choice:
        return Choice.best(self._candidates, scores, self.trainable(), self.settings.ranking)

    def _kept(self, scores: Computed) -> Computed:
        """Return the scores stored in a file, so that reading them several times computes them once."""
        shares = (candidate.share(candidate.parameter) for candidate in self._candidates)
        kept = Spool(dict(zip(scores, shares, strict=True)))
        for name, score in scores.items():
            kept.add(name, score)
        return Computed(scores, kept.__getitem__)

    def _mean(self, estimators: Sequence[Estimator]) -> Computed:
        """Return the mean of several estimates, per candidate."""
        places = {f"{c.name}[{c.group}]": (c.name, c.rows) for c in self._candidates}
        return Computed(places, lambda name: average(estimators, *places[name]))

    def _scores(self, halves: tuple[int, ...], criterion: str) -> Computed:
        """Return ``f``, ``delta-f`` or ``drf`` per candidate, from the given halves of the iterations."""
        seen = self._mean([self._seen[half] for half in halves])
        shifted = self._mean([self._shifted[half] for half in halves])
        unit = mean(seen)
        if unit < torch.finfo(torch.float32).tiny:  # smaller values are denormal, so ratios lose precision
            raise UserError(
                f"fishertune: the Fisher information of every weight is 0 after {len(self._dampings)} estimation "
                "steps, so the loss does not depend on the backbone; use a longer decoder warm-up (protocol: "
                "decoder.warmup)"
            )
        if criterion == "f":
            return seen
        if self.settings.scale != "none":
            seen, shifted = in_units(seen, unit), in_units(shifted, unit)
        if criterion == "delta-f":
            return delta_f(seen, shifted, self.settings.prior)
        dampings = [value for step, value in enumerate(self._dampings) if step % HALVES in halves]
        damping = sum(dampings) / len(dampings)
        return drf(seen, shifted, damping, prior=self.settings.prior, scale=self.settings.scale)
