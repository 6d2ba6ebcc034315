"""The class-agnostic objective: dense physical maps, predicted from patch tokens.

Materials (asphalt, glass, cloth, foliage, ...) cut across the target classes; depth, normals, the borders of
instances and how far an instance reaches say nothing of its class. No module of this package reads a class label.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.pretrain.batches import NOTHING, PATCH, STRIDE, Batch

CELLS = PATCH // STRIDE  # target cells per token and side
WEIGHTS = {"material": 1.0, "depth": 2.0, "normal": 1.0, "edge": 1.0, "extent": 0.5}


class DenseHeads(nn.Module):
    """Reads the maps from all taps together and, linearly, from single taps.

    Supervising single taps makes shallow features useful, which pyramid decoders read at their finest level.

    Args:
        embed_dim: width D of a token.
        taps: how many block outputs come in.
        materials: number of material classes.
        hidden: channels of the joint head at stride 4.
    """

    def __init__(self, embed_dim: int, out_indices: int, materials: int, hidden: int = 32) -> None:
        super().__init__()
        self.sizes = {"material": materials, "depth": 1, "normal": 3, "edge": 1, "extent": 4}
        outputs, area = sum(self.sizes.values()), CELLS * CELLS
        self.norms = nn.ModuleList(nn.LayerNorm(embed_dim) for _ in range(out_indices))
        self.single = nn.ModuleList(nn.Linear(embed_dim, outputs * area) for _ in range(out_indices))
        self.mix = nn.ModuleList(nn.Linear(embed_dim, hidden * area) for _ in range(out_indices))
        self.joint = nn.Sequential(nn.GELU(), nn.Conv2d(hidden, outputs, 1))

    def forward(self, features: list[Tensor], tap: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return maps (B, channels, 4h, 4w), by name: those read from all taps, and those from one.

        Args:
            features: (B, D, h, w) block outputs.
            tap: which of them is also read alone.
        """
        tokens = [norm(f.permute(0, 2, 3, 1)) for norm, f in zip(self.norms, features, strict=True)]
        mixed = torch.stack([mix(t) for mix, t in zip(self.mix, tokens, strict=True)]).sum(0)
        return self._named(self.joint(_unfold(mixed))), self._named(_unfold(self.single[tap](tokens[tap])))

    def _named(self, maps: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.sizes, maps.float().split(list(self.sizes.values()), 1), strict=True))


def dense_losses(maps: dict[str, Tensor], batch: Batch, material_weights: Tensor) -> dict[str, Tensor]:
    """Return the named losses, each a mean over the cells where its target is known.

    Args:
        maps: as :meth:`DenseHeads.forward` returns them.
        batch: the targets.
        material_weights: (M,) of the cross-entropy, so that rare materials count.
    """
    material = F.cross_entropy(
        maps["material"], batch.material, weight=material_weights, ignore_index=NOTHING, reduction="sum"
    )
    known = batch.material[batch.material != NOTHING]
    cosine = 1 - F.cosine_similarity(maps["normal"], batch.normal, dim=1)
    edge = F.binary_cross_entropy_with_logits(maps["edge"][:, 0], batch.edge.nan_to_num(), reduction="none")
    near = F.smooth_l1_loss(maps["extent"], batch.extent.nan_to_num(), reduction="none", beta=0.5)
    return {
        "material": material / material_weights[known].sum().clamp(min=1e-6),
        "depth": _mean((maps["depth"][:, 0] - batch.depth.nan_to_num()).abs(), ~batch.depth.isnan()),
        "normal": _mean(cosine, batch.normal.abs().sum(1) > 0),
        "edge": _mean(edge, ~batch.edge.isnan()),
        "extent": _mean(near, ~batch.extent.isnan()),
    }


def total(losses: dict[str, Tensor]) -> Tensor:
    """Return the weighted sum of named losses."""
    return torch.stack([WEIGHTS[name] * loss for name, loss in losses.items()]).sum()


def _unfold(tokens: Tensor) -> Tensor:
    """Return (B, C, 4h, 4w) from tokens (B, h, w, 16 C)."""
    return F.pixel_shuffle(tokens.permute(0, 3, 1, 2), CELLS)


def _mean(values: Tensor, known: Tensor) -> Tensor:
    return (values * known).sum() / known.sum().clamp(min=1)
