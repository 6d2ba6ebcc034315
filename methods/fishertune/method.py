"""FisherTune: tune the weights whose Fisher information is high and would change in another domain.

Algorithm 1 of the paper. T1 trains the decoder on the frozen backbone. Protocols with a decoder warm-up do this for all
methods; otherwise it is a phase of this method, since gradients through an untrained decoder carry no information about
the backbone. T2 estimates and T3 tunes. The paper states none of their lengths. By default T3 takes the iterations that
every method has, and T1 and T2 come on top of them: the decoder that T1 trains only serves the estimate and is put back
afterwards, since training it longer than for other methods would be an advantage.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmark.method import (
    Budget,
    EstimationBatch,
    Method,
    Phase,
    SparseAdamW,
    UserError,
    candidates,
    phases_with_estimate,
)
from benchmark.models.backbone import Backbone
from methods.fishertune.choice import Choice
from methods.fishertune.computed import Computed
from methods.fishertune.domain import UnseenDomain
from methods.fishertune.drfim import mean
from methods.fishertune.estimates import BOTH, HALVES, PASSES, Estimates, domains
from methods.fishertune.schedule import above_threshold, share_at, stage
from methods.fishertune.sensitivity import means
from methods.fishertune.settings import Criterion, FisherTuneSettings
from methods.fishertune.spool import Spool
from methods.fishertune.variational import IN_UPDATE


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
        self._domain = UnseenDomain(backbone, self.settings.place, self.settings.noise, self.settings.deviations)
        self._estimates: Estimates | None = None  # only during the estimation phase
        self._evaluations = 0
        self._choice: Choice | None = None
        self._seeds = torch.randint(2**62, (len(self._candidates),), generator=rng).tolist()
        self._facts: dict[str, Any] = {}

    def phases(self, budget: Budget) -> tuple[Phase, ...]:
        """Return T2 and T3, preceded by T1 if the protocol has no decoder warm-up.

        Raises:
            UserError: too few iterations for all phases.
        """
        if self.settings.criterion == "random" and self.settings.budget == "own":
            return (Phase("tune", budget.iterations),)
        passes = domains(self.settings) * PASSES[self.settings.estimator]
        return phases_with_estimate(self.settings, budget, method="fishertune", passes=passes, at_least=HALVES)

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
        if self.settings.criterion == "random":
            return
        if self._estimates is None:
            self._estimates = Estimates(self.settings, self._candidates, self._domain)
        self._estimates.observe(batch)
        self._evaluations = self._estimates.evaluations

    def select(self) -> None:
        """Select the weights, collect the facts for the record, and free the estimates.

        Raises:
            UserError: the Fisher information of every weight is 0.
        """
        criterion, estimates = self.settings.criterion, self._estimates
        if criterion == "random" or estimates is None:
            self._choice = self._best(self._random_scores())
            self._facts = {"gradient_evaluations": 0, "chosen": self._choice.counts()}
            return
        agreement = self._agreement(criterion)
        scores = self._kept(estimates.scores(criterion))
        self._choice = self._best(scores)
        if criterion != "drf":
            scores = estimates.scores("drf")
        seen, shifted = estimates.mean(estimates.seen), estimates.shifted_mean()
        self._facts = {
            "gradient_evaluations": self._evaluations,
            "overlap_of_halves": agreement,
            "convergence": estimates.seen[0].convergence(),
            "damping": estimates.damping(),
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
        self._estimates = None

    def before_step(self, step: int, steps: int) -> None:
        """Change the selection when a stage begins (Eq. 16)."""
        if self._choice is None:  # no estimate: the weights are selected at random
            self.select()
        reached = stage(step, steps)
        if step == 0 or reached != stage(step - 1, steps):
            assert self._choice is not None
            for name, mask in self._choice.masks(self._count_at(reached)).items():
                self._optimizer.select(self._matrices[name], mask)
                if self.settings.schedule == "literal":
                    self._optimizer.unselect(self._matrices[name], ~mask)

    def _count_at(self, progress: float) -> int:
        """Return how many weights train at ``progress`` = t / T."""
        start, end, reading = self.settings.share_start, self.settings.share, self.settings.schedule
        if reading == "threshold-value":
            assert self._choice is not None
            return above_threshold(progress, self._choice.scores, self._count(start))
        return self._count(share_at(progress, start, end, reading))

    def choice(self, criterion: Criterion) -> Choice:
        """Return the selection from the batches so far, by a criterion of Table 4.

        Raises:
            UserError: the Fisher information of every weight is 0.
        """
        assert self._estimates is not None
        return self._best(self._kept(self._estimates.scores(criterion)))

    def evaluations(self, criterion: Criterion) -> int:
        """Return the number of per-image gradients used for that selection: F needs only x, the others x and x'."""
        return self._evaluations // 2 if criterion == "f" else self._evaluations

    def trainable(self) -> int:
        """Return the number of weights in the largest selection; for ``threshold-value`` an upper bound."""
        last = self.settings.schedule == "threshold-percentile"
        return self._count_at(1.0) if last else self._count(self.settings.share)

    def stored_values(self) -> int:
        """Return the size of the estimates: one value per weight of the matrices, half and domain."""
        if self.settings.criterion == "random":
            return 0
        return HALVES * domains(self.settings) * self._matrix_values()

    def peak_values(self) -> int:
        """Return the precisions and what an update needs; squared gradients, and scores, are stored in a file."""
        if self.settings.estimator != "variational" or self.settings.criterion == "random":
            return 0
        return self.stored_values() + IN_UPDATE * self._matrix_values()

    def _matrix_values(self) -> int:
        return sum(matrix.numel() for matrix in self._matrices.values())

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
            "estimates": None if self._estimates is None else self._estimates.state_dict(),
            "evaluations": self._evaluations,
            "choice": None if self._choice is None else self._choice.state_dict(),
            "facts": self._facts,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._estimates = None
        if state["estimates"] is not None:
            self._estimates = Estimates(self.settings, self._candidates, self._domain)
            self._estimates.load_state_dict(state["estimates"])
        choice, self._facts, self._evaluations = state["choice"], state["facts"], state["evaluations"]
        self._choice = None if choice is None else Choice.restored(self._candidates, choice)

    # -- helpers ------------------------------------------------------------------------------------------

    def _count(self, share: float) -> int:
        return round(share * self._size)

    def _random_scores(self) -> Computed:
        """Return uniformly random scores per candidate, the same whenever they are read."""
        keys = {f"{c.name}[{c.group}]": (c, seed) for c, seed in zip(self._candidates, self._seeds, strict=True)}

        def draw(name: str) -> Tensor:
            candidate, seed = keys[name]
            shape = candidate.share(candidate.parameter).shape
            return torch.rand(shape, generator=torch.Generator().manual_seed(seed))

        return Computed(keys, draw)

    def _agreement(self, criterion: Criterion) -> float | None:
        """Return the overlap of the selections from the two halves; None if one of them has seen no batch."""
        assert self._estimates is not None
        if not all(estimator.count for estimator in self._estimates.seen):
            return None
        halves = (self._best(self._kept(self._estimates.scores(criterion, (half,)))) for half in BOTH)
        first, second = halves
        return first.overlap(second)

    def _best(self, scores: Computed) -> Choice:
        return Choice.best(self._candidates, scores, self._count(self.settings.share), self.settings.ranking)

    def _kept(self, scores: Computed) -> Computed:
        """Return the scores stored in a file, so that reading them several times computes them once."""
        shares = (candidate.share(candidate.parameter) for candidate in self._candidates)
        kept = Spool(dict(zip(scores, shares, strict=True)))
        for name, score in scores.items():
            kept.add(name, score)
        return Computed(scores, kept.__getitem__)
