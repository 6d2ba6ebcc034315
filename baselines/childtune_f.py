"""ChildTuning-F: at every step, train a random fraction of the gradient entries."""

from __future__ import annotations

from typing import Any

import torch

from benchmark.method import Method, Settings, setting
from benchmark.models.backbone import Backbone


class ChildTuneFSettings(Settings):
    """The released script has one value of p for both variants, but only runs D."""

    share: float = setting(
        0.3, "ours", "p, fraction kept at each step; from the released script, which only runs D", gt=0, le=1
    )
    lr: float = setting(
        1e-5,
        "ours",
        "unpublished for DGSS; all weights of the blocks train, so same as full fine-tuning in Rein",
        gt=0,
        le=1,
    )
    weight_decay: float = setting(0.05, "ours", "unpublished for DGSS; same as Rein", ge=0, lt=1)


class ChildTuneF(Method):
    """Replaces gradients g of the blocks' parameters by g · M / p, with a new M ~ Bernoulli(p) at each step.

    As in the released code, the mask is applied before Adam: the moments include the zeros, and a masked weight still
    moves by its momentum. Every weight of the blocks therefore trains, and decoupled weight decay applies to all of
    them at every step. As in ChildTuning-D, the backbone trains in train mode and parameters outside the blocks are
    frozen (in the released code, they train under the mask).

    The mask depends only on the seed and the step, so a resumed run needs no RNG state and all ranks draw the same
    mask. It is drawn on the device of the gradients, whose generator differs from the CPU's.
    """

    label = "ChildTune-F"
    source = "Xu et al., Raise a Child in Large Language Model (Child-Tuning), EMNLP 2021"
    Settings = ChildTuneFSettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze everything except the blocks; draw the seed of the masks."""
        self.begin(backbone, train_pretrained=True)
        self._parameters = list(backbone.blocks.parameters())
        inside = {id(parameter) for parameter in self._parameters}
        for parameter in backbone.parameters():
            parameter.requires_grad_(id(parameter) in inside)
        self._seed = int(torch.randint(2**62, (), generator=rng))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group of the blocks' parameters."""
        return [{"params": self._parameters, "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]

    def before_step(self, step: int, steps: int) -> None:
        """Mask and rescale the gradients."""
        generator = torch.Generator(self._parameters[0].device).manual_seed(self._seed + step)
        for parameter in self._parameters:
            if parameter.grad is not None:  # None for blocks after the last out index
                mask = torch.empty_like(parameter.grad).bernoulli_(self.settings.share, generator=generator)
                parameter.grad.mul_(mask).div_(self.settings.share)


METHOD = ChildTuneF
