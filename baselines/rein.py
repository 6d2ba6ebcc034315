"""Rein: learnt tokens refine the patch features between frozen blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from baselines._layers import drawn_linear
from benchmark.method import Method, Settings, setting
from benchmark.models.backbone import Backbone

QUERY_DIM = 256


class ReinSettings(Settings):
    """Values of the paper and its released configuration."""

    tokens: int = setting(
        100, "paper", "m; must equal the number of object queries of the decoder, if it has any", ge=2
    )
    rank: int = setting(16, "paper", "r of T = A B", ge=1)
    scale: float = setting(0.001, "paper", "initial scale of the refinement", gt=0)
    lr: float = setting(1e-4, "paper", "of the adapter", gt=0, le=1)
    weight_decay: float = setting(
        0.05, "paper", "of the linear layers with biases; tokens and scale are exempt", ge=0, lt=1
    )


class Reins(nn.Module):
    """LoRAReins, the low-rank form that the paper's tables use.

    Per block i, with patch features f (..., D) and tokens T_i = A_i B_i (m, D)::

        S = softmax(f T_iᵀ / √D) over the m tokens; the first ("null") token is then dropped without renormalising
        f ← f + s · (W_f (S W_t(T_i[1:]) + f) + b_f)

    W_t, W_f (with biases) and the scalar s are shared by all blocks. A and B are uniform in
    ±√(6 / (3p² + √(rD))) for patch size p; linear layers have torch's initialisation.

    Args:
        depth: number of blocks.
        tokens: m.
        rank: r.
        dim: D.
        patch: p.
        scale: initial s.
        rng: generator for the initial weights.
    """

    def __init__(
        self, depth: int, tokens: int, rank: int, dim: int, patch: int, scale: float, rng: torch.Generator
    ) -> None:
        super().__init__()
        bound = math.sqrt(6 / (3 * patch**2 + math.sqrt(rank * dim)))
        self.a = nn.Parameter(torch.empty(depth, tokens, rank).uniform_(-bound, bound, generator=rng))
        self.b = nn.Parameter(torch.empty(depth, rank, dim).uniform_(-bound, bound, generator=rng))
        self.scale = nn.Parameter(torch.tensor(scale))
        self.token_to_feature = drawn_linear(dim, dim, rng)
        self.feature = drawn_linear(dim, dim, rng)
        self.query = drawn_linear(dim, QUERY_DIM, rng)
        self.merge = drawn_linear(3 * QUERY_DIM, QUERY_DIM, rng)

    def forward(self, features: Tensor, block: int) -> Tensor:
        """Return the refined patch features of one block, of the same shape (..., D)."""
        tokens = self.a[block] @ self.b[block]
        similarity = (features @ tokens.T * features.shape[-1] ** -0.5).softmax(-1)[..., 1:]
        refinement = similarity @ self.token_to_feature(tokens[1:]) + features
        return features + self.scale * self.feature(refinement)

    def queries(self) -> Tensor:
        """Return the query link: object queries (m, 256) for Mask2Former.

        Merged from the maximum, mean and last value over the blocks, per token and query dimension, in that order.
        """
        each = self.query(self.a @ self.b)
        summary = torch.stack([each.amax(0), each.mean(0), each[-1]], dim=-1)
        return self.merge(summary.flatten(-2))


class Rein(Method):
    """Rein on the patch tokens of every block; prefix tokens are unchanged. The backbone is frozen and in eval mode.

    A decoder with object queries (Mask2Former) uses Rein's queries, one per token, instead of its own. As in the
    published count, the two layers of this query link (459,264 parameters on a ViT-L) are counted for every decoder.
    With decoders without object queries they get no gradient, which DDP needs to know (``find_unused_parameters``),
    and 2,530,817 parameters train on a ViT-L.
    """

    label = "Rein"
    source = "Wei et al., Stronger, Fewer, & Superior (Rein), CVPR 2024"
    Settings = ReinSettings
    unmergeable = "it refines features by attention to its tokens, which no layer of the backbone computes"

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze the backbone; add the tokens and a hook on each block."""
        self.begin(backbone)
        s = self.settings
        dim, patch = backbone.embed_dim, backbone.patch_size
        reins = Reins(backbone.depth, s.tokens, s.rank, dim, patch, s.scale, rng)
        self.add("rein", reins)
        for index, block in enumerate(backbone.blocks):
            self.hook(block.register_forward_hook(partial(_refine, reins, index, backbone.prefix_tokens)))

    def queries(self) -> Callable[[], Tensor]:
        """Return the function that computes the query link."""
        reins: Any = self._added["rein"]
        return reins.queries

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return a group of linear layers with weight decay and one of tokens and scale without."""
        reins = self._added["rein"]
        exempt = [reins.get_parameter(name) for name in ("a", "b", "scale")]
        linear = [p for child in reins.children() for p in child.parameters()]
        lr = self.settings.lr
        return [
            {"params": linear, "lr": lr, "weight_decay": self.settings.weight_decay},
            {"params": exempt, "lr": lr, "weight_decay": 0.0},
        ]


def _refine(reins: Reins, index: int, prefix: int, block: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    if prefix == 0:  # includes SAM, whose tokens form a map (B, h, w, D)
        return reins(output, index)
    return torch.cat([output[:, :prefix], reins(output[:, prefix:], index)], dim=1)


METHOD = Rein
