"""LayerNorm tuning: train only the weights and biases of the norms."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmark.method import Method, Settings, UserError, setting
from benchmark.models.backbone import Backbone


class LayerNormSettings(Settings):
    """No paper states values of LayerNorm tuning for segmentation with a VFM."""

    lr: float = setting(
        1e-3, "ours", "unpublished for DGSS; few parameters need larger steps than matrices", gt=0, le=1
    )
    weight_decay: float = setting(
        0.0, "ours", "unpublished for DGSS; decay would pull pre-trained weights from 1 towards zero", ge=0, lt=1
    )


class LayerNorm(Method):
    """Trains weight and bias of every LayerNorm, including those inside attention and feed-forward layers (EVA02).

    The backbone is in eval mode. The last norm is counted but gets no gradient, since block outputs are read before it.
    Our SAM backbone has no neck, so the neck's two norms (1,024 of SAM-H's published 164,864 parameters) are missing
    and 163,840 train.
    """

    label = "LayerNorm"
    source = "Basu et al., Strong Baselines for Parameter-Efficient Few-Shot Fine-Tuning (LN-Tune), AAAI 2024"
    Settings = LayerNormSettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze everything except the norms.

        Raises:
            UserError: the backbone has no LayerNorm.
        """
        self.begin(backbone)
        norms = [module for module in backbone.modules() if isinstance(module, nn.LayerNorm)]
        self._parameters = [parameter for norm in norms for parameter in norm.parameters()]
        if not self._parameters:
            raise UserError(
                f"layernorm does not support backbone {backbone.name!r}: it has no LayerNorm with weights; "
                "choose another backbone"
            )
        for parameter in self._parameters:
            parameter.requires_grad_(True)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group of all norms' weights and biases."""
        return [{"params": self._parameters, "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]


METHOD = LayerNorm
