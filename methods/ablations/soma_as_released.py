"""SoMA as in its released code: minor components of random matrices are added to the pre-trained ones."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines._minor_components import MinorComponents, Pair, minor_components


class SoMAAsReleased(MinorComponents):
    """W + B A, where B A are the minor components of a random matrix with torch's initialisation of linear layers.

    The released code decomposes the random weights when the model is built, and then overwrites the residual with the
    pre-trained W; its merging script adds the same two terms. Training therefore does not start at the pre-trained
    model, but at a perturbation of rank r in each matrix. On a ViT-L with r = 16, its spectral norm is 0.62 in the
    first feed-forward matrix, 0.31 in the second and 0.014 in the square matrices. Everything else (blocks, biases,
    weight decay, number of parameters) is as in :mod:`baselines.soma`.
    """

    label = "SoMA (as released)"
    source = "Yun et al., SoMA, CVPR 2025; its released code"

    def pair(self, weight: Tensor, rng: torch.Generator) -> Pair:
        """Return the pair for a random matrix with the shape of ``weight``, uniform in ±1/√in."""
        bound = weight.shape[1] ** -0.5
        random = torch.empty(weight.shape).uniform_(-bound, bound, generator=rng)
        return Pair(*minor_components(random.to(weight), self.settings.rank), in_place=False)


METHOD = SoMAAsReleased
