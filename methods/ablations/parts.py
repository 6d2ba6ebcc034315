"""Parts: train all weights of two groups of matrices in one third of the blocks (Figure 3)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from benchmark.method import Candidate, Method, Settings, SparseAdamW, candidates, setting
from benchmark.models.backbone import Backbone

Pair = Literal["q+k", "q+v", "q+ffn", "k+v", "k+ffn", "v+ffn"]
PAIRS: tuple[Pair, ...] = ("q+k", "q+v", "q+ffn", "k+v", "k+ffn", "v+ffn")
THIRDS = (1, 2, 3)


class PartsSettings(Settings):
    """The paper shows such results without their hyperparameters or its division of the blocks."""

    pair: Pair = setting("q+k", "paper", "Figure 3: two groups out of query, key, value and feed-forward matrices")
    third: int = setting(
        3, "ours", "third of the blocks, 1 at the input; the paper's ranges are unpublished", ge=1, le=3
    )
    lr: float = setting(1e-5, "ours", "unpublished; same as full fine-tuning", gt=0, le=1)
    weight_decay: float = setting(0.05, "ours", "unpublished; same as full fine-tuning", ge=0, lt=1)


class Parts(Method):
    """Trains all weights of two groups in one third of the blocks; one run for each of the 18 combinations.

    Shows where tuning a foundation model helps most, without estimating sensitivity. In a fused matrix, the rows of
    other groups stay bit-identical to the pre-trained ones. The backbone is in eval mode.
    """

    label = "Parts"
    source = "Zhao et al., FisherTune, CVPR 2025, Figure 3"
    arm_of = "full"
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"pair": PAIRS, "third": THIRDS}
    Settings = PartsSettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze everything except the matrices that contain the part.

        Raises:
            UserError: the backbone does not have these projections.
        """
        self.begin(backbone)
        pair = self.settings.pair.split("+")
        self._part = [each for each in candidates(backbone) if each.group in pair and self._here(each)]
        self._matrices = {each.name: each.parameter for each in self._part}
        for matrix in self._matrices.values():
            matrix.requires_grad_(True)

    def _here(self, candidate: Candidate) -> bool:
        return candidate.block * len(THIRDS) // self.backbone.depth + 1 == self.settings.third

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group of the matrices that contain the part."""
        params = list(self._matrices.values())
        return [{"params": params, "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]

    def optimizer(self, betas: tuple[float, float], eps: float) -> SparseAdamW:
        """Return an optimizer that updates only the part, not the other rows of a fused matrix."""
        self._optimizer = SparseAdamW(self.parameter_groups(), betas, eps, names=self._matrices)
        for each in self._part:
            mask = torch.zeros_like(each.parameter, dtype=torch.bool)
            each.share(mask).fill_(True)
            self._optimizer.select(each.parameter, mask)
        return self._optimizer

    def trainable(self) -> int:
        """Return the number of weights in the part."""
        return sum(each.numel() for each in self._part)

    def delta(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the current weights of the part."""
        return self._optimizer.changes()


METHOD = Parts
