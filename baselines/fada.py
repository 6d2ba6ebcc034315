"""FADA (reimplementation): learnt tokens refine low and high frequencies of the patch features after each block."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines._layers import drawn_linear
from benchmark.method import Method, Settings, setting
from benchmark.models.backbone import Backbone

HAAR = ((1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1))
"""2 × (LL, LH, HL, HH) from the 2 × 2 corners in reading order; half of it is symmetric and its own inverse."""


class FADASettings(Settings):
    """Values of the paper as quoted by papers that cite it; Rein's otherwise."""

    tokens: int = setting(100, "paper", "m for low frequencies; high frequencies have 3m", ge=2)
    rank: int = setting(16, "paper", "r of T = A B", ge=1)
    lr: float = setting(1e-4, "ours", "not available; same as Rein, on which the code is said to build", gt=0, le=1)
    weight_decay: float = setting(
        0.05, "ours", "not available; same as Rein: linear layers with biases, tokens exempt", ge=0, lt=1
    )


def haar(tokens: Tensor) -> Tensor:
    """Return the orthonormal 2-D Haar bands LL, LH, HL, HH, (B, 4, h, w, D), of a map (B, 2h, 2w, D)."""
    corners = tokens.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    return torch.einsum("ij,bjhwd->bihwd", tokens.new_tensor(HAAR) / 2, corners)


def inverse_haar(bands: Tensor) -> Tensor:
    """Return the map (B, 2h, 2w, D) with Haar bands ``bands`` (B, 4, h, w, D)."""
    corners = torch.einsum("ij,bjhwd->bihwd", bands.new_tensor(HAAR) / 2, bands)
    return corners.unflatten(1, (2, 2)).permute(0, 3, 1, 4, 2, 5).flatten(3, 4).flatten(1, 2)


class Frequencies(nn.Module):
    """FADA's tokens and layers as we read the paper. Per block, on the Haar bands of its patch map::

        LL:           f ← f + W₂ (S W₁(T_L) + f),   S = softmax(f T_Lᵀ / √D)
        [LH; HL; HH]: f ← f + W₄ (N W₃(T_H) + f),   N = InstanceNorm(softmax(f T_Hᵀ / √D))

    followed by the inverse transform. T = A B is low-rank, with m tokens for LL and 3m for the three high bands, which
    form one sequence of 3hw features. W₁..W₄ (with biases) are shared by all blocks. As in Rein, the first token takes
    part in the softmax but its value is dropped. InstanceNorm normalises each image and token over the 3hw features,
    without learnt parameters. Maps with an odd side repeat their last row or column for the transform.

    The equations have no scale, so W₂ and W₄ are initialised with zeros (as in Rein without a scale): at the start, the
    model computes the same as the pre-trained one. A and B are uniform in ±√(6 / (3p² + √(rD))) for patch size p.

    Args:
        depth: number of blocks.
        tokens: m.
        rank: r.
        dim: D.
        patch: p.
        rng: generator for the initial weights.
    """

    def __init__(self, depth: int, tokens: int, rank: int, dim: int, patch: int, rng: torch.Generator) -> None:
        super().__init__()
        bound = math.sqrt(6 / (3 * patch**2 + math.sqrt(rank * dim)))
        self.low_a, self.high_a = (_uniform((depth, count, rank), bound, rng) for count in (tokens, 3 * tokens))
        self.low_b, self.high_b = (_uniform((depth, rank, dim), bound, rng) for _ in range(2))
        self.low_tokens, self.high_tokens = drawn_linear(dim, dim, rng), drawn_linear(dim, dim, rng)
        self.low, self.high = drawn_linear(dim, dim, rng), drawn_linear(dim, dim, rng)
        for layer in (self.low, self.high):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, grid: Tensor, block: int) -> Tensor:
        """Return the refined patch map of one block, with the shape of ``grid`` (B, h, w, D)."""
        height, width = grid.shape[1:3]
        bands = haar(_even(grid))
        low, high = bands[:, 0].flatten(1, 2), bands[:, 1:].flatten(1, 3)
        low_tokens, high_tokens = self.low_a[block] @ self.low_b[block], self.high_a[block] @ self.high_b[block]
        similarity = _similarity(low, low_tokens)[..., 1:]
        low_change = self.low(similarity @ self.low_tokens(low_tokens[1:]) + low)
        similarity = F.instance_norm(_similarity(high, high_tokens).transpose(1, 2)).transpose(1, 2)[..., 1:]
        high_change = self.high(similarity @ self.high_tokens(high_tokens[1:]) + high)
        # The transform is linear, so it is enough to transform the change back and add it.
        change = inverse_haar(torch.cat([low_change, high_change], dim=1).view(bands.shape))
        return grid + change[:, :height, :width]


class FADA(Method):
    """Reimplementation from the equations quoted by other papers; the official repository contains no code.

    The patch map is refined after each block (see :class:`Frequencies`); prefix tokens are unchanged. The backbone is
    frozen and in eval mode. On a ViT-L there are 5,138,432 parameters, or 459,264 more with Rein's query link, which
    is not included. The published 11.65 M match neither this reading nor others we tried (four independent Reins have
    11.96 M), so results under this name are not the authors'.
    """

    label = "FADA (reimplemented)"
    source = "Bi et al., Learning Frequency-Adapted Vision Foundation Model (FADA), NeurIPS 2024"
    Settings = FADASettings
    unmergeable = (
        "it refines frequency bands of features by attention to its tokens, which no layer of the backbone does"
    )

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze the backbone; add tokens, layers, a hook on each block, and one for the patch grid's size."""
        self.begin(backbone)
        s = self.settings
        made = Frequencies(backbone.depth, s.tokens, s.rank, backbone.embed_dim, backbone.patch_size, rng)
        self.add("fada", made)
        self.hook(backbone.register_forward_pre_hook(self._see))
        for index, block in enumerate(backbone.blocks):
            self.hook(block.register_forward_hook(partial(self._refine, made, index)))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return a group of linear layers with weight decay and one of tokens without."""
        made = self._added["fada"]
        linear = [p for child in made.children() for p in child.parameters()]
        lr = self.settings.lr
        return [
            {"params": linear, "lr": lr, "weight_decay": self.settings.weight_decay},
            {"params": list(made.parameters(recurse=False)), "lr": lr, "weight_decay": 0.0},
        ]

    def _see(self, backbone: Backbone, args: tuple[Tensor]) -> None:
        patch = backbone.patch_size
        height, width = (-(-side // patch) for side in args[0].shape[-2:])
        self._grid = height, width

    def _refine(self, made: Frequencies, index: int, block: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        if output.dim() == 4:  # SAM's tokens already form a map
            return made(output, index)
        prefix = self.backbone.prefix_tokens
        grid = output[:, prefix:].unflatten(1, self._grid)
        return torch.cat([output[:, :prefix], made(grid, index).flatten(1, 2)], dim=1)


def _even(grid: Tensor) -> Tensor:
    """Pad a map (B, h, w, D) to even sides by repeating its last row and column."""
    height, width = grid.shape[1:3]
    if height % 2:
        grid = torch.cat([grid, grid[:, -1:]], dim=1)
    return torch.cat([grid, grid[:, :, -1:]], dim=2) if width % 2 else grid


def _uniform(shape: tuple[int, ...], bound: float, rng: torch.Generator) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=rng))


def _similarity(features: Tensor, tokens: Tensor) -> Tensor:
    return (features @ tokens.T * features.shape[-1] ** -0.5).softmax(-1)


METHOD = FADA
