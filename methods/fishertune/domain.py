"""A simulated unseen domain (Eq. 6): perturbed feature statistics, as in DSU.

Li et al., Uncertainty Modeling for Out-of-Distribution Generalization, ICLR 2022. Used only to estimate sensitivity,
not for tuning.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.method import CORRECTIONS, WHOLE, Deviations, MicroBatch, features_at, on_patches, restyle
from benchmark.models.backbone import Backbone


class UnseenDomain:
    """Replaces the features x of a batch by x', at one position in the network.

    Args:
        backbone: the backbone to perturb.
        place: ``pixels`` (RGB, before normalisation), ``embedding`` (patch embedding, before positions are
            added) or a block index (its output; prefix tokens are unchanged).
        noise: ``channel`` draws ε for every sample and channel, as in DSU; ``sample`` draws one ε_μ and one ε_σ per
            sample; ``batch`` draws one of each.
        deviations: of Σ, see :func:`benchmark.method.restyle`.

    Raises:
        UserError: the backbone has no such block, or the decoder does not use its output.
    """

    def __init__(self, backbone: Backbone, place: str | int, noise: str, deviations: Deviations = "unbiased") -> None:
        self._place, self._noise, self._correction = place, noise, CORRECTIONS[deviations]
        self._prefix = 0
        self._hooked: nn.Module | None = None
        self._pair: tuple[Tensor, Tensor] | None = None
        if place != "pixels":
            self._hooked, self._prefix = features_at(backbone, place, "fishertune")

    @contextmanager
    def entered(self, rng: torch.Generator, micro_batch: MicroBatch = WHOLE) -> Iterator[UnseenDomain]:
        """Make the backbone compute on x' within this context.

        ε is drawn from ``rng`` once, for all forward passes. ``micro_batch`` says which images of the batch these are.
        """
        self._rng, self._micro_batch, self._pair = rng, micro_batch, None
        handle = None if self._hooked is None else self._hooked.register_forward_hook(self._hook)
        try:
            yield self
        finally:
            if handle is not None:
                handle.remove()

    def images(self, images: Tensor) -> Tensor:
        """Return the (B, 3, H, W) images to pass to the model; perturbed if ``place`` is ``pixels``."""
        if self._place != "pixels":
            return images
        places = images.flatten(2).transpose(1, 2)
        return self._shift(places).transpose(1, 2).reshape(images.shape)

    def damping(self, reading: str) -> float:
        """Return exp(-(ε_μ + ε_σ)) of Eq. 7 for the last noise drawn, with ε averaged over the whole batch.

        ``magnitude`` averages |ε|, ``signed`` averages ε, literally Eq. 7. With one ε per channel, the mean over
        samples and channels hardly varies: about 0.2 with magnitudes, about 1 signed, whatever the shift. With
        ``noise="batch"`` it varies from batch to batch: the larger the shift, the smaller, if magnitudes are used.
        """
        assert self._pair is not None
        return math.exp(-sum((e.abs() if reading == "magnitude" else e).mean().item() for e in self._pair))

    def dampings(self, reading: str) -> Tensor:
        """Return exp(-(ε_μ + ε_σ)) for each sample of the whole batch, with ε averaged over its channels only, (B,).

        With ``noise="sample"`` each sample has one ε_μ and one ε_σ, so its value decreases with its shift. With one ε
        per channel, samples differ by a few percent. ``reading``: see :meth:`damping`.
        """
        assert self._pair is not None
        first, second = ((e.abs() if reading == "magnitude" else e).mean((1, 2)) for e in self._pair)
        return (-(first + second)).exp()

    def own(self, values: Tensor) -> Tensor:
        """Return the values of this rank's samples, given those of the whole batch."""
        return self._micro_batch.rows(values)

    def _hook(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return on_patches(output, self._prefix, self._shift)

    def _shift(self, x: Tensor) -> Tensor:
        if self._pair is None:
            size = x.shape[0] * self._micro_batch.of
            shape = {"channel": (size, 1, x.shape[2]), "sample": (size, 1, 1), "batch": (1, 1, 1)}[self._noise]
            self._pair = (torch.randn(shape, generator=self._rng), torch.randn(shape, generator=self._rng))
        own = self._pair if self._noise == "batch" else tuple(map(self._micro_batch.rows, self._pair))
        first, second = (e.to(x.device, x.dtype) for e in own)
        return restyle(x, first, second, self._correction)
