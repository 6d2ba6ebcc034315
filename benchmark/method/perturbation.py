"""Feature perturbation (FisherTune, Eq. 6): resample the feature statistics of each image to simulate another domain.

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

EPS = 1e-6  # added to the variance, as in DSU
Deviations = Literal["unbiased", "population"]
CORRECTIONS: dict[Deviations, int] = {"unbiased": 1, "population": 0}


def restyle(x: Tensor, noise_mean: Tensor, noise_spread: Tensor, correction: int = 1) -> Tensor:
    """Return x' = β (x - μ) / σ + α with α = μ + ε_μ Σ_μ and β = σ + ε_σ Σ_σ (Eq. 6).

    μ and σ are the mean and standard deviation over positions, per sample and channel. Σ_μ and Σ_σ are their standard
    deviations over the batch, detached, so that the gradient of a sample depends on no other sample. With a single
    image Σ = 0 and x' = x. A channel that is constant over positions stays constant, at α. The batch is that of all
    ranks together.

    Args:
        x: (B, N, C), N positions.
        noise_mean: ε_μ, broadcastable to (B, 1, C).
        noise_spread: ε_σ, likewise.
        correction: 1 for unbiased deviations, as in DSU's released code, 0 for those of the population.
    """
    mean = x.mean(1, keepdim=True)
    spread = (x.var(1, correction=min(correction, x.shape[1] - 1), keepdim=True) + EPS).sqrt()
    alpha = mean + noise_mean * _deviation(mean, correction)
    beta = spread + noise_spread * _deviation(spread, correction)
    return beta * (x - mean) / spread + alpha


def _deviation(statistic: Tensor, correction: int) -> Tensor:
    """Return a statistic's standard deviation over the batch; 0 for a single image."""
    batch = gathered(statistic.detach())
    return batch.std(0, correction=min(correction, len(batch) - 1), keepdim=True)


def features_at(backbone: Backbone, place: str | int, name: str) -> tuple[nn.Module, int]:
    """Return the module that outputs the features at ``place``, and how many prefix tokens its output has.

    Args:
        backbone: the backbone.
        place: ``embedding`` (patch embedding, before positions are added) or a block index (its output).
        name: of the method, for error messages.

    Raises:
        UserError: the backbone has no such block, or the decoder does not use its output.
    """
    if not isinstance(place, int):
        return backbone.vit.patch_embed, 0
    if place > max(backbone.out_indices):
        raise UserError(
            f"{name}: place={place} comes after block {max(backbone.out_indices)}, the last one of backbone "
            f"{backbone.name!r} that the decoder reads; use a smaller index or 'embedding'"
        )
    return backbone.blocks[place], backbone.prefix_tokens


def on_patches(output: Tensor, prefix: int, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply ``change`` to the patch tokens (B, N, C) of a module's output; prefix tokens are unchanged.

    Channels are last in timm's transformers: (B, N, C), or (B, h, w, C) for windowed attention and for dynamic image
    sizes.
    """
    tokens = output.reshape(output.shape[0], -1, output.shape[-1])
    return torch.cat([tokens[:, :prefix], change(tokens[:, prefix:])], dim=1).reshape(output.shape)


class PerturbationSettings(Settings):
    """Where and how often to perturb. FisherTune's Table 5 combines it with other methods but states neither."""

    place: Literal["embedding"] | NonNegativeInt = setting(
        "embedding", "ours", "position, or a block index; unpublished: same as FisherTune's simulated domain"
    )
    probability: float = setting(0.5, "paper", "that a batch is perturbed (DSU)", gt=0, le=1)
    deviations: Deviations = setting("unbiased", "paper", "standard deviations, as in DSU's released code")


class Perturbation(nn.Module):
    """Perturbs the backbone's features during the training steps of another method.

    It is a module without parameters, added to the backbone by the method, so it is in train mode only while the
    backbone trains. The shared decoder warm-up, the estimation phases of FisherTune and ChildTuning and every
    evaluation use unperturbed features. ε ~ N(0, 1) per sample and channel comes from the same per-iteration RNG as
    dropout, so a resumed run draws the same numbers as an uninterrupted one. Changes that a method makes at the same
    position (Rein refines the output of a block) are applied first.

    Raises:
        UserError: at the first training step, if the batch has one image: the standard deviation over the batch is
            then 0 and nothing would be perturbed.
    """

    def __init__(self, settings: PerturbationSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or PerturbationSettings()

    def join(self, method: Method) -> None:
        """Add the perturbation to an attached method; detaching the method removes it.

        Raises:
            UserError: the backbone has no such position.
        """
        module, self._prefix = features_at(method.backbone, self.settings.place, "perturbation")
        method.add("perturbation", self)
        method.hook(module.register_forward_hook(self._hook))

    def forward(self, x: Tensor) -> Tensor:
        """Return x' for patch features x (B, N, C), computed in float32 and returned in the dtype of x."""
        micro_batch = current()
        noise = torch.randn(2, x.shape[0] * micro_batch.of, 1, x.shape[2])  # on the CPU: the same on every device
        first, second = (micro_batch.rows(each).to(x.device) for each in noise)
        return restyle(x.float(), first, second, CORRECTIONS[self.settings.deviations]).to(x.dtype)

    def _hook(self, module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        if not self.training:
            return None
        if output.shape[0] * processes() == 1:
            raise UserError(
                "perturbation: the batch has one image, so its statistics do not vary; use a protocol with batch >= 2"
            )
        if torch.rand(()) >= self.settings.probability:
            return None
        return on_patches(output, self._prefix, self)
