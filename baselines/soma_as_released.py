"""SoMA as its released code runs: minor components of random matrices on top of the pre-trained ones."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines._minor_components import MinorComponents, Pair


class SoMAAsReleased(MinorComponents):
    """W + B A, where B A are the minor components of a matrix that is random, as torch initialises a linear layer.

    In the released code the decomposition runs when the model is built, on random weights; the pre-trained W is
    loaded afterwards over the residual, and its merging script adds up the same two. So training starts not at
    the pre-trained function, but at one perturbed by rank r in each matrix: on a ViT-L and with r = 16, a
    spectral norm of 0.62 in the first feed-forward matrix, 0.31 in the second, 0.014 in the square ones. All
    else (blocks, biases, weight decay, count) is :mod:`baselines.soma`'s.
    """

    label = "SoMA (as released)"
    source = "Yun et al., SoMA, CVPR 2025; its released code"

    def pair(self, weight: Tensor, rng: torch.Generator) -> Pair:
        """Return the pair of a random matrix of the shape of ``weight``, uniform in ±1/√in."""
        bound = weight.shape[1] ** -0.5
        random = torch.empty(weight.shape).uniform_(-bound, bound, generator=rng)
        return Pair(random.to(weight), self.settings.rank, in_place=False)


METHOD = SoMAAsReleased
