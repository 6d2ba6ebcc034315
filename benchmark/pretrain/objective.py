"""The class-agnostic objective: predict dense physical maps from patch tokens.

Materials (asphalt, glass, cloth, foliage, ...) are shared between the target classes. Depth, normals, instance borders
and extents are defined without reference to classes. The objective never uses class labels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.pretrain.batches import NOTHING, PATCH, STRIDE, Batch

CELLS = PATCH // STRIDE  # target cells per token and side
WEIGHTS = {"material": 1.0, "depth": 2.0, "normal": 1.0, "edge": 1.0, "extent": 0.5}


class DenseHeads(nn.Module):
    """Predict the maps from all block outputs together and, linearly, from single block outputs.

    The losses on single block outputs make shallow features useful, which pyramid decoders read at their finest level.

    Args:
        embed_dim: token width D.
        levels: number of block outputs.
        materials: number of material classes.
        hidden: channels of the joint head at stride 4.
    """

    def __init__(self, embed_dim: int, levels: int, materials: int, hidden: int = 32) -> None:
        super().__init__()
        self.sizes = {"material": materials, "depth": 1, "normal": 3, "edge": 1, "extent": 4}
        outputs, area = sum(self.sizes.values()), CELLS * CELLS
        self.norms = nn.ModuleList(nn.LayerNorm(embed_dim) for _ in range(levels))
        self.single = nn.ModuleList(nn.Linear(embed_dim, outputs * area) for _ in range(levels))
        self.mix = nn.ModuleList(nn.Linear(embed_dim, hidden * area) for _ in range(levels))
        self.joint = nn.Sequential(nn.GELU(), nn.Conv2d(hidden, outputs, 1))

    def forward(self, features: list[Tensor], level: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return maps (B, channels, 4h, 4w) by name, predicted from all block outputs and from a single one.

        Args:
            features: (B, D, h, w) block outputs.
            level: index of the single block output.
        """
        tokens = [norm(f.permute(0, 2, 3, 1)) for norm, f in zip(self.norms, features, strict=True)]
        mixed = torch.stack([mix(t) for mix, t in zip(self.mix, tokens, strict=True)]).sum(0)
        return self._named(self.joint(_unfold(mixed))), self._named(_unfold(self.single[level](tokens[level])))

    def _named(self, maps: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.sizes, maps.float().split(list(self.sizes.values()), 1), strict=True))


def dense_losses(maps: dict[str, Tensor], batch: Batch, material_weights: Tensor) -> dict[str, Tensor]:
    """Return the named losses, each averaged over the cells with a known target.

    Args:
        maps: predictions of :meth:`DenseHeads.forward`.
        batch: the targets.
        material_weights: (M,) weights of the cross-entropy, larger for rare materials.
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
    """Rearrange tokens (B, h, w, 16 C) to (B, C, 4h, 4w)."""
    return F.pixel_shuffle(tokens.permute(0, 3, 1, 2), CELLS)


def _mean(values: Tensor, known: Tensor) -> Tensor:
    return (values * known).sum() / known.sum().clamp(min=1)
