"""Full fine-tuning: every pre-trained weight trains, position embedding included."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmark.method import Method, Settings, setting
from benchmark.models.backbone import Backbone


class FullSettings(Settings):
    """Rein's, whose comparison with full fine-tuning the field quotes."""

    lr: float = setting(1e-5, "paper", "Rein's paper; its released code has 1e-4", gt=0, le=1)
    weight_decay: float = setting(0.05, "paper", "Rein; norms are exempt, as there", ge=0, lt=1)


class Full(Method):
    """Every weight trains, in train mode, so that the backbone's drop path is on.

    The last norm belongs to the backbone and is counted, but block outputs are read before it: it gets no
    gradient and stays as it is.
    """

    label = "Full"
    source = "Wei et al., Stronger, Fewer, & Superior (Rein), CVPR 2024, Table 1"
    Settings = FullSettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Make all of the backbone trainable."""
        self.begin(backbone, train_pretrained=True)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the norms without weight decay and the rest with it."""
        decayed: list[nn.Parameter] = []
        norms: list[nn.Parameter] = []
        for name, parameter in self.backbone.named_parameters():
            (norms if "norm" in name else decayed).append(parameter)
        lr = self.settings.lr
        return [
            {"params": decayed, "lr": lr, "weight_decay": self.settings.weight_decay},
            {"params": norms, "lr": lr, "weight_decay": 0.0},
        ]


METHOD = Full
