"""L2-SP: full fine-tuning whose weight decay pulls towards the pre-trained weights instead of zero."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.full import Full, FullSettings
from benchmark.method import Decoding, setting
from benchmark.models.backbone import Backbone


class L2SPSettings(FullSettings):
    """The paper's penalty; everything else as in full fine-tuning."""

    strength: float = setting(
        0.1,
        "paper",
        "α, with SGD (also in the released script); a weight of the objective, so it needs no change for AdamW",
        ge=0,
    )
    weight_decay: float = setting(0.0, "paper", "the penalty replaces it", ge=0, lt=1)


class L2SP(Full):
    """Trains every weight as :class:`~baselines.full.Full` does, plus the loss α/2 · ‖θ - θ₀‖² (Eq. 2).

    θ are all weights of the backbone, norms included, and θ₀ their pre-trained values. The sum is over weights, not a
    mean, as in the paper. The paper's second term, β/2 · ‖θ‖² on the weights of new layers, would regularise the
    decoder; its weight decay is the protocol's.

    The penalty is part of the loss, so that its gradient α (θ - θ₀) passes through Adam's moments. The paper uses SGD.
    """

    label = "L2-SP"
    source = "Li et al., Explicit Inductive Bias for Transfer Learning with Convolutional Networks, ICML 2018"
    Settings = L2SPSettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Make the whole backbone trainable, and copy its pre-trained weights."""
        super().attach(backbone, rng)
        # Not registered on the backbone: checkpoints omit them, since attach() is called before one is loaded.
        self._start = [(parameter, parameter.detach().clone()) for parameter in backbone.parameters()]
        self._moved: set[nn.Parameter] = set()

    def losses(self, decoding: Decoding) -> dict[str, Tensor]:
        """Return the penalty, ``{"l2_sp": scalar}``.

        Weights that equal their pre-trained values are left out, since their penalty and its gradient are 0. These are
        all weights in the first iteration, and later those that the decoder's loss does not reach, such as the last
        norm. Data-parallel training requires that they get no gradient.
        """
        self._moved |= {p for p, start in self._start if p not in self._moved and not torch.equal(p, start)}
        squares = [(p - start).square().sum() for p, start in self._start if p in self._moved]
        total = torch.stack(squares).sum() if squares else self._start[0][1].new_zeros(())
        return {"l2_sp": self.settings.strength / 2 * total}


METHOD = L2SP
