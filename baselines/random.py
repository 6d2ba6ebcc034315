"""Random: train 5 % of the weights, selected at random, as a control for methods that select by a criterion."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmark.method import (
    GROUPS,
    Group,
    Method,
    Settings,
    SparseAdamW,
    UserError,
    candidates,
    setting,
    top_k,
)
from benchmark.models.backbone import Backbone


class RandomSettings(Settings):
    """FisherTune's Table 4 reports the method without its hyperparameters."""

    share: float = setting(0.05, "paper", "fraction of the whole backbone: 15.21 M of a ViT-L's 304.20 M", gt=0, le=1)
    groups: tuple[Group, ...] = setting(GROUPS, "paper", "matrices to select from; Table 4 also has q, k or v alone")
    lr: float = setting(1e-4, "ours", "unpublished; same as Rein's adapter", gt=0, le=1)
    weight_decay: float = setting(0.05, "ours", "unpublished; same as Rein", ge=0, lt=1)


class Random(Method):
    """Selects weights of the query, key, value and feed-forward matrices uniformly, once before training.

    Candidates, number of weights and optimizer are those of FisherTune; the backbone is in eval mode. Weights that are
    not selected stay bit-identical to the pre-trained ones.
    """

    label = "Random"
    source = "Zhao et al., FisherTune, CVPR 2025, Table 4"
    Settings = RandomSettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze everything except the matrices with candidates.

        Raises:
            UserError: no weight would be selected, or there are too few candidates.
        """
        self.begin(backbone)
        self._rng = rng
        self._candidates = candidates(backbone, self.settings.groups)
        self._count = round(self.settings.share * sum(p.numel() for p in backbone.parameters()))
        if self._count == 0:
            raise UserError(
                f"random: share {self.settings.share} of backbone {backbone.name!r} selects no weight; raise share"
            )
        available = sum(candidate.numel() for candidate in self._candidates)
        if self._count > available:
            raise UserError(
                f"random: share {self.settings.share} of backbone {backbone.name!r} is {self._count:,} "
                f"weights, but {', '.join(self.settings.groups)} have {available:,}; lower share or add groups"
            )
        self._matrices = {candidate.name: candidate.parameter for candidate in self._candidates}
        for matrix in self._matrices.values():
            matrix.requires_grad_(True)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group of the matrices with candidates, of which only selected weights are updated."""
        params = list(self._matrices.values())
        return [{"params": params, "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]

    def optimizer(self, betas: tuple[float, float], eps: float) -> SparseAdamW:
        """Select the weights and return their optimizer."""
        keys = {f"{c.name}[{c.group}]": c for c in self._candidates}
        scores = {key: torch.rand(c.share(c.parameter).shape, generator=self._rng) for key, c in keys.items()}
        masks = {name: torch.zeros(p.shape, dtype=torch.bool) for name, p in self._matrices.items()}
        for key, chosen in top_k(scores, self._count).items():
            keys[key].share(masks[keys[key].name]).copy_(chosen)
        self._optimizer = SparseAdamW(self.parameter_groups(), betas, eps, names=self._matrices)
        for name, matrix in self._matrices.items():
            self._optimizer.select(matrix, masks[name])
        return self._optimizer

    def trainable(self) -> int:
        """Return the number of selected weights."""
        return self._count

    def delta(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the current values of the selected weights."""
        return self._optimizer.changes()


METHOD = Random
