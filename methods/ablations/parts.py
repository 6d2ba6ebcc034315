"""Parts: two groups of projections in a third of the blocks, every weight of them (Figure 3)."""

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
    """The paper shows a map of such runs, without their settings or how it divides the blocks."""

    pair: Pair = setting("q+k", "paper", "Figure 3: two of Q, K, V and feed-forward weights")
    third: int = setting(
        3, "ours", "of the blocks, from 1 at the input; the paper's ranges are unpublished", ge=1, le=3
    )
    lr: float = setting(1e-5, "ours", "unpublished; that of full fine-tuning", gt=0, le=1)
    weight_decay: float = setting(0.05, "ours", "unpublished; that of full fine-tuning", ge=0, lt=1)


class Parts(Method):
    """The weights of two groups in a third of the blocks, all of them and no others; one run for each of 18 parts.

    It asks where a foundation model is best tuned, before any estimate of where it is sensitive. In a fused matrix,
    rows of other groups stay bit-identical to the pre-trained ones. The backbone is in eval mode.
    """

    label = "Parts"
    source = "Zhao et al., FisherTune, CVPR 2025, Figure 3"
    arm_of = "full"
    grid: ClassVar[dict[str, tuple[Any, ...]]] = {"pair": PAIRS, "third": THIRDS}
    Settings = PartsSettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze all but the matrices that hold the part.

        Raises:
            UserError: a backbone without the projections.
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
        """Return the matrices that hold the part."""
        params = list(self._matrices.values())
        return [{"params": params, "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]

    def optimizer(self, betas: tuple[float, float], eps: float) -> SparseAdamW:
        """Return the part's optimizer, which leaves a fused matrix's other rows alone."""
        self._optimizer = SparseAdamW(self.parameter_groups(), betas, eps, names=self._matrices)
        for each in self._part:
            mask = torch.zeros_like(each.parameter, dtype=torch.bool)
            each.share(mask).fill_(True)
            self._optimizer.select(each.parameter, mask)
        return self._optimizer

    def trainable(self) -> int:
        """Return how many weights the part holds."""
        return sum(each.numel() for each in self._part)

    def delta(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the part's weights as they are now."""
        return self._optimizer.changes()


METHOD = Parts
