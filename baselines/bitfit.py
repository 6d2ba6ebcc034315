"""BitFit: only the bias vectors train."""

from __future__ import annotations

from typing import Any

import torch

from benchmark.method import Method, Settings, setting
from benchmark.models.backbone import Backbone


class BitFitSettings(Settings):
    """No paper states BitFit's values for segmentation with a VFM."""

    lr: float = setting(1e-3, "ours", "unpublished for DGSS; few values need larger steps than matrices", gt=0, le=1)
    weight_decay: float = setting(
        0.0, "ours", "unpublished for DGSS; decay would pull pre-trained biases to zero", ge=0, lt=1
    )


class BitFit(Method):
    """Every bias of the backbone trains, those of norms and patch embedding included.

    The backbone stays in eval mode. EVA02 has no key bias and keeps fused query and value biases under names of
    their own (``q_bias``, ``v_bias``), which count. The last norm's bias is counted and gets no gradient, since
    block outputs are read before it.
    """

    label = "BitFit"
    source = "Ben Zaken et al., BitFit, ACL 2022"
    Settings = BitFitSettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze all but the biases."""
        self.begin(backbone)
        self._biases = [p for name, p in backbone.named_parameters() if name.endswith((".bias", "_bias"))]
        for bias in self._biases:
            bias.requires_grad_(True)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the biases."""
        return [{"params": self._biases, "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]


METHOD = BitFit
