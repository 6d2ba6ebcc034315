"""ChildTuning-F: at every step a random share of the gradient's entries, whatever the task."""

from __future__ import annotations

from typing import Any

import torch

from benchmark.method import Method, Settings, setting
from benchmark.models.backbone import Backbone


class ChildTuneFSettings(Settings):
    """The released script has one value of p for both variants, and runs D."""

    share: float = setting(0.3, "ours", "p of the released script, whose one run is of D, not of F", gt=0, le=1)
    lr: float = setting(
        1e-5, "ours", "unpublished for DGSS; the blocks move as a whole, as in Rein's full fine-tuning", gt=0, le=1
    )
    weight_decay: float = setting(0.05, "ours", "unpublished for DGSS; that of Rein", ge=0, lt=1)


class ChildTuneF(Method):
    """Gradients g of the blocks' parameters become g · M / p, with M ~ Bernoulli(p) anew at each step.

    The mask stands before Adam, as released: its moments see zeros, and a weight that is left out once still moves
    by its momentum. Every weight of the blocks thus trains, and decoupled weight decay shrinks every one at
    every step, unscaled: that is the released code's, and unlike D there is no weight that must stay as it is.
    As in D, the backbone trains in train mode, and what lies outside the blocks is frozen (in the released
    code it trains, under the mask).

    A step's mask is a function of the seed and the step alone, so a resumed run needs no random state and all
    processes of a distributed run draw the same one. It is drawn on the gradient's device, whose generator
    differs from the CPU's.
    """

    label = "ChildTune-F"
    source = "Xu et al., Raise a Child in Large Language Model (Child-Tuning), EMNLP 2021"
    Settings = ChildTuneFSettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze all but the blocks; draw the number from which every mask follows."""
        self.begin(backbone, train_pretrained=True)
        self._parameters = list(backbone.blocks.parameters())
        inside = {id(parameter) for parameter in self._parameters}
        for parameter in backbone.parameters():
            parameter.requires_grad_(id(parameter) in inside)
        self._seed = int(torch.randint(2**62, (), generator=rng))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the blocks' parameters."""
        return [{"params": self._parameters, "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]

    def before_step(self, step: int, steps: int) -> None:
        """Mask and rescale the gradients."""
        generator = torch.Generator(self._parameters[0].device).manual_seed(self._seed + step)
        for parameter in self._parameters:
            if parameter.grad is not None:  # a block behind the last tap has none
                mask = torch.empty_like(parameter.grad).bernoulli_(self.settings.share, generator=generator)
                parameter.grad.mul_(mask).div_(self.settings.share)


METHOD = ChildTuneF
