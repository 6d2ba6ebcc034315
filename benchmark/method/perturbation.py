"""Feature perturbation (FisherTune, Eq. 6): new statistics for an image's features, as another domain might have.

DSU: Li et al., Uncertainty Modeling for Out-of-Distribution Generalization, ICLR 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import NonNegativeInt
from torch import Tensor, nn

from benchmark.common.errors import UserError
from benchmark.common.microbatch import current
from benchmark.method.interface import Method, Settings, setting
from benchmark.method.processes import gathered, processes
from benchmark.models.backbone import Backbone

EPS = 1e-6  # of the variance, as DSU has it


def restyle(x: Tensor, noise_mean: Tensor, noise_spread: Tensor) -> Tensor:
    """Return x' = β (x - μ) / σ + α with α = μ + ε_μ Σ_μ and β = σ + ε_σ Σ_σ (Eq. 6).

    μ, σ are each sample's and channel's over space; Σ_μ, Σ_σ their (population) standard deviation over the
    batch, held constant in the backward pass, so that a sample's gradient depends on no other sample. In a
    batch of one Σ = 0 and x' = x; a channel that is constant over space stays constant, at α. The batch is that of
    all processes together.

    Args:
        x: (B, N, C), N places in space.
        noise_mean: ε_μ, broadcastable to (B, 1, C).
        noise_spread: ε_σ, likewise.
    """
    mean = x.mean(1, keepdim=True)
    spread = (x.var(1, correction=0, keepdim=True) + EPS).sqrt()
    alpha = mean + noise_mean * gathered(mean.detach()).std(0, correction=0, keepdim=True)
    beta = spread + noise_spread * gathered(spread.detach()).std(0, correction=0, keepdim=True)
    return beta * (x - mean) / spread + alpha


def features_at(backbone: Backbone, place: str | int, whose: str) -> tuple[nn.Module, int]:
    """Return the module that puts out the features at a place, and how many prefix tokens lead them.

    Args:
        backbone: where to look.
        place: ``embedding`` (of patches, before positions are added) or a block's index (its output).
        whose: setting it is, to begin an error with.

    Raises:
        UserError: a block that the backbone does not have, or whose output nothing reads.
    """
    if not isinstance(place, int):
        return backbone.vit.patch_embed, 0
    if place > max(backbone.out_indices):
        raise UserError(
            f"{whose}: place={place} lies behind block {max(backbone.out_indices)}, the last that the decoder reads of "
            f"backbone {backbone.name!r}; give a smaller one, or 'embedding'"
        )
    return backbone.blocks[place], backbone.prefix_tokens


def on_patches(output: Tensor, prefix: int, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return a module's output with ``change`` made to its patch tokens (B, N, C); prefix tokens are left alone.

    Channels are last in timm's transformers: (B, N, C), or (B, h, w, C) for windowed attention and where the
    image size may vary.
    """
    tokens = output.reshape(output.shape[0], -1, output.shape[-1])
    return torch.cat([tokens[:, :prefix], change(tokens[:, prefix:])], dim=1).reshape(output.shape)


class PerturbationSettings(Settings):
    """Where and how often; FisherTune's Table 5 gives it to other methods and says neither."""

    place: Literal["embedding"] | NonNegativeInt = setting(
        "embedding", "ours", "where, unpublished; as FisherTune's simulated domain here: or a block's index"
    )
    probability: float = setting(0.5, "paper", "of a batch's being perturbed (DSU)", gt=0, le=1)


class Perturbation(nn.Module):
    """Perturbs a backbone's features in the training steps of whichever method carries it, and nowhere else.

    It is a module without parameters that a method adds to the backbone like its own, so it is in train mode when
    the method's side trains and in eval mode otherwise: the common decoder warm-up, FisherTune's and ChildTuning's
    estimates and every scoring see the features as they are. ε ~ N(0, 1) for every sample and channel, from the
    iteration's own stream as dropout is, so a resumed run draws what an undisturbed one does. What a method does
    at the same place (Rein's refinement of a block's output) comes first.

    Raises:
        UserError: at the first training step, where there is one image only: statistics of one image have no
            spread, so nothing would be perturbed.
    """

    def __init__(self, settings: PerturbationSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or PerturbationSettings()

    def join(self, method: Method) -> None:
        """Go with an attached method, until it is detached.

        Raises:
            UserError: no such place.
        """
        module, self._prefix = features_at(method.backbone, self.settings.place, "perturbation")
        method.add("perturbation", self)
        method.hook(module.register_forward_hook(self._hook))

    def forward(self, x: Tensor) -> Tensor:
        """Return x' of patch features x (B, N, C), computed in float32 and of x's own type."""
        micro_batch = current()
        noise = torch.randn(2, x.shape[0] * micro_batch.of, 1, x.shape[2])  # on the CPU: the same on every device
        own = (micro_batch.rows(each).to(x.device) for each in noise)
        return restyle(x.float(), *own).to(x.dtype)

    def _hook(self, module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        if not self.training:
            return None
        if output.shape[0] * processes() == 1:
            raise UserError(
                "perturbation: a batch of one has no spread to draw from; the protocol's has to be of two or more"
            )
        if torch.rand(()) >= self.settings.probability:
            return None
        return on_patches(output, self._prefix, self)
