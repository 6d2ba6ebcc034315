"""DoRA on query, key and value projections, using peft: LoRA's direction times a trained magnitude."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from baselines.lora import LoRA, LoRASettings
from benchmark.method import setting
from benchmark.models.backbone import Backbone


class DoRASettings(LoRASettings):
    """No paper reports DoRA for DGSS; the values are those of LoRA, so that the two differ in the magnitude only."""

    rank: int = setting(8, "ours", "unpublished for DGSS; same as LoRA", ge=1)
    weight_decay: float = setting(
        0.05, "ours", "unpublished for DGSS; of A and B, same as LoRA; the magnitude is exempt", ge=0, lt=1
    )


class DoRA(LoRA):
    """W′ = m ⊙ V / ‖V‖ with V = W + (alpha / rank) B A, on the input projections of the attention.

    ‖V‖ is the norm of each row of V, one per output of the layer, and m starts as ‖W‖. The paper calls it the norm of
    each column, because its W maps row vectors. The backward pass treats ‖V‖ as a constant (Sec. 4.3 of the paper).

    A, B and their number per block are as in :mod:`baselines.lora`; m adds one value per output (3D per block) and has
    no weight decay, which would pull pre-trained magnitudes towards zero. At the start, the model computes the same as
    the pre-trained one.
    """

    label = "DoRA"
    source = "Liu et al., DoRA: Weight-Decomposed Low-Rank Adaptation, ICML 2024"
    Settings = DoRASettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze the backbone and wrap its projections with peft.

        Raises:
            UserError: the backbone has no known projections.
        """
        super().attach(backbone, rng)
        self._magnitudes = [layer.lora_magnitude_vector["default"].weight for layer in self._layers.values()]

    def options(self) -> dict[str, Any]:
        """Return further arguments of peft's configuration."""
        return {**super().options(), "use_dora": True}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return a group of all A and B with weight decay and one of all magnitudes without."""
        return [*super().parameter_groups(), {"params": self._magnitudes, "lr": self.settings.lr, "weight_decay": 0.0}]

    def projection(self, layer: Any) -> Tensor:
        """Return m ⊙ V / ‖V‖, the weight (out, in) that a layer is equivalent to, in float64."""
        direction = super().projection(layer)
        magnitude = layer.lora_magnitude_vector["default"].weight.detach().double()
        return (magnitude / direction.norm(dim=1))[:, None] * direction

    def train_mode(self) -> None:
        """Set train mode, with DoRA's dropout on and the backbone's off."""
        super().train_mode()
        for layer in self._layers.values():
            layer.train()  # peft's DoRA skips its dropout otherwise


METHOD = DoRA
