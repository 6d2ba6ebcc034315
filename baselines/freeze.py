"""Freeze: frozen backbone; only the decoder trains."""

from __future__ import annotations

from typing import Any

import torch

from benchmark.method import Method, Settings
from benchmark.models.backbone import Backbone


class Freeze(Method):
    """Freezes the whole backbone: no gradients, no weight decay, eval mode."""

    label = "Freeze"
    source = "Wei et al., Stronger, Fewer, & Superior (Rein), CVPR 2024, Table 1"
    Settings = Settings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze the backbone."""
        self.begin(backbone)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return no groups."""
        return []


METHOD = Freeze
