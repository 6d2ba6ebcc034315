"""LayerNorm tuning: only the norms' weights and biases train."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmark.method import Method, Settings, UserError, setting
from benchmark.models.backbone import Backbone


class LayerNormSettings(Settings):
    """No paper states values of LayerNorm tuning for segmentation with a VFM."""

    lr: float = setting(1e-3, "ours", "unpublished for DGSS; few values need larger steps than matrices", gt=0, le=1)
    weight_decay: float = setting(
        0.0, "ours", "unpublished for DGSS; decay would pull pre-trained weights from 1 to zero", ge=0, lt=1
    )


class LayerNorm(Method):
    """Weight and bias of every LayerNorm train, those within attention and feed-forward (EVA02) included.

    The backbone stays in eval mode. The last norm is counted and gets no gradient, since block outputs are
    read before it. SAM's neck is no part of our backbone: its two norms (1,024 values of SAM-H's published
    164,864) do not exist here, and 163,840 train.
    """

    label = "LayerNorm"
    source = "Basu et al., Strong Baselines for Parameter-Efficient Few-Shot Fine-Tuning (LN-Tune), AAAI 2024"
    Settings = LayerNormSettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze all but the norms.

        Raises:
            UserError: a backbone without LayerNorm.
        """
        self.begin(backbone)
        norms = [module for module in backbone.modules() if isinstance(module, nn.LayerNorm)]
        self._parameters = [parameter for norm in norms for parameter in norm.parameters()]
        if not self._parameters:
            raise UserError(
                f"layernorm cannot serve backbone {backbone.name!r}: it has no LayerNorm with weights; "
                "choose another backbone"
            )
        for parameter in self._parameters:
            parameter.requires_grad_(True)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the norms' weights and biases."""
        return [{"params": self._parameters, "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]


METHOD = LayerNorm
