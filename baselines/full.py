"""Full fine-tuning: train every pre-trained weight, including the position embedding."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmark.method import Method, Settings, setting
from benchmark.models.backbone import Backbone


class FullSettings(Settings):
    """Rein's values; its comparison with full fine-tuning is the one commonly cited."""

    lr: float = setting(1e-5, "paper", "Rein's paper; the released code has 1e-4", gt=0, le=1)
    weight_decay: float = setting(0.05, "paper", "Rein; norms are exempt", ge=0, lt=1)


class Full(Method):
    """Trains every weight in train mode, so that drop path is on.

    The last norm is counted but gets no gradient, since block outputs are read before it.
    """

    label = "Full"
    source = "Wei et al., Stronger, Fewer, & Superior (Rein), CVPR 2024, Table 1"
    Settings = FullSettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Make the whole backbone trainable."""
        self.begin(backbone, train_pretrained=True)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return a group with weight decay and one of the norms without."""
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
