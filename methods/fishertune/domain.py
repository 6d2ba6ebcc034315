"""A simulated unseen domain (Eq. 6): the uncertainty of feature statistics, as in DSU.

Li et al., Uncertainty Modeling for Out-of-Distribution Generalization, ICLR 2022. Used to find sensitive
weights only, never while tuning.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.method import UserError
from benchmark.models.backbone import Backbone

EPS = 1e-6  # of the variance, as DSU has it


def restyle(x: Tensor, noise_mean: Tensor, noise_spread: Tensor) -> Tensor:
    """Return x' = β (x - μ) / σ + α with α = μ + ε_μ Σ_μ and β = σ + ε_σ Σ_σ (Eq. 6).

    μ, σ are each sample's and channel's over space; Σ_μ, Σ_σ their (population) standard deviation over the
    batch, held constant in the backward pass, so that a sample's gradient depends on no other sample. In a
    batch of one Σ = 0 and x' = x; a channel that is constant over space stays constant, at α.

    Args:
        x: (B, N, C), N places in space.
        noise_mean: ε_μ, broadcastable to (B, 1, C).
        noise_spread: ε_σ, likewise.
    """
    mean = x.mean(1, keepdim=True)
    spread = (x.var(1, correction=0, keepdim=True) + EPS).sqrt()
    alpha = mean + noise_mean * mean.detach().std(0, correction=0, keepdim=True)
    beta = spread + noise_spread * spread.detach().std(0, correction=0, keepdim=True)
    return beta * (x - mean) / spread + alpha


class UnseenDomain:
    """Turns the model's view of a batch from x into x', at one place of the network.

    Args:
        backbone: whose features are shifted.
        place: ``pixels`` (RGB, before normalisation), ``embedding`` (patch embedding, before positions are
            added) or a block's index (its output; prefix tokens are left alone).
        noise: ``channel`` draws ε for every sample and channel, as DSU; ``batch`` draws one ε_μ and one ε_σ.

    Raises:
        UserError: a block that the backbone does not have, or whose output nothing reads.
    """

    def __init__(self, backbone: Backbone, place: str | int, noise: str) -> None:
        self._place, self._noise = place, noise
        self._prefix, self._hooked = 0, None
        self._pair: tuple[Tensor, Tensor] | None = None
        if isinstance(place, int):
            if place > max(backbone.taps):
                raise UserError(
                    f"fishertune: place={place} lies behind block {max(backbone.taps)}, the last that the "
                    f"decoder reads of backbone {backbone.name!r}; give a smaller one, or 'embedding'"
                )
            self._prefix, self._hooked = backbone.prefix_tokens, backbone.blocks[place]
        elif place == "embedding":
            self._hooked = backbone.vit.patch_embed

    @contextmanager
    def entered(self, rng: torch.Generator) -> Iterator[UnseenDomain]:
        """Within the context the backbone computes on x'; ``rng`` alone gives ε, once for all passes."""
        self._rng, self._pair = rng, None
        module: nn.Module | None = self._hooked
        handle = module.register_forward_hook(self._hook) if module is not None else None
        try:
            yield self
        finally:
            if handle is not None:
                handle.remove()

    def images(self, images: Tensor) -> Tensor:
        """Return the (B, 3, H, W) images to feed: shifted themselves where the place is ``pixels``."""
        if self._place != "pixels":
            return images
        places = images.flatten(2).transpose(1, 2)
        return self._shift(places).transpose(1, 2).reshape(images.shape)

    def damping(self, reading: str) -> float:
        """Return exp(-(ε_μ + ε_σ)) of Eq. 7 for the noise just drawn.

        ``magnitude`` takes the mean of |ε|, so that a larger simulated shift always damps ΔF; ``signed`` takes
        the mean of ε itself, literally Eq. 7: above 1 in half of all draws.
        """
        assert self._pair is not None
        return math.exp(-sum((e.abs() if reading == "magnitude" else e).mean().item() for e in self._pair))

    def _hook(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        # Channels are last in timm's transformers: (B, N, C), or (B, h, w, C) for windowed attention and
        # where the image size may vary.
        size, channels = output.shape[0], output.shape[-1]
        tokens = output.reshape(size, -1, channels)
        patches = self._shift(tokens[:, self._prefix :])
        return torch.cat([tokens[:, : self._prefix], patches], dim=1).reshape(output.shape)

    def _shift(self, x: Tensor) -> Tensor:
        if self._pair is None:
            shape = (x.shape[0], 1, x.shape[2]) if self._noise == "channel" else (1, 1, 1)
            self._pair = (torch.randn(shape, generator=self._rng), torch.randn(shape, generator=self._rng))
        return restyle(x, *(e.to(x.device, x.dtype) for e in self._pair))
