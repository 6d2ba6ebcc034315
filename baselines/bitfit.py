"""BitFit: train only the biases."""

from __future__ import annotations

from typing import Any

import torch

from benchmark.method import Method, Settings, setting
from benchmark.models.backbone import Backbone


class BitFitSettings(Settings):
    """No paper states values of BitFit for segmentation with a VFM."""

    lr: float = setting(
        1e-3, "ours", "unpublished for DGSS; few parameters need larger steps than matrices", gt=0, le=1
    )
    weight_decay: float = setting(
        0.0, "ours", "unpublished for DGSS; decay would pull pre-trained biases towards zero", ge=0, lt=1
    )


class BitFit(Method):
    """Trains every bias of the backbone, including those of norms and patch embedding.

    The backbone is in eval mode. EVA02 has no key bias; its separate query and value biases (``q_bias``, ``v_bias``)
    are included. The bias of the last norm is counted but gets no gradient, since block outputs are read before it.
    """

    label = "BitFit"
    source = "Ben Zaken et al., BitFit, ACL 2022"
    Settings = BitFitSettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze everything except the biases."""
        self.begin(backbone)
        self._biases = [p for name, p in backbone.named_parameters() if name.endswith((".bias", "_bias"))]
        for bias in self._biases:
            bias.requires_grad_(True)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group of all biases."""
        return [{"params": self._biases, "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]


METHOD = BitFit
