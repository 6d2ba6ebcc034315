"""GeCo: SoMA's pairs, and predictions that must stand a small move along the geometry of an image's features."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines._minor_components import MinorComponents, MinorComponentSettings
from benchmark.method import WHOLE, Decoding, MicroBatch, setting
from benchmark.models.backbone import Backbone

TINY = torch.finfo(torch.float32).tiny
FLAT = 1e-5  # an eigenvalue below this share of all is rounding: its direction means nothing


class GeCoSettings(MinorComponentSettings):
    """SoMA's, and of the regulariser what the released code has."""

    strength: float = setting(0.1, "paper", "factor of the regulariser in the loss", ge=0)
    warmup: float = setting(0.025, "paper", "share of the iterations without it: 1,000 of 40,000", ge=0, le=1)
    neighbours: int = setting(8, "paper", "k, most similar tokens of the same image", ge=1)
    dimensions: int = setting(4, "paper", "d, of the local tangent space", ge=1)
    radius: float = setting(0.1, "paper", "length of a move at κ = 0, in root-mean-squares of the token", gt=0)
    normal: float = setting(0.2, "paper", "share of the normal part in a move where κ is below the median", ge=0)


class GeCo(MinorComponents):
    """Adapter as in :mod:`baselines.soma`, from the pre-trained function, plus 0.1 · mean acos²(Σ √(p p′)).

    p are the decoder's class probabilities, p′ those after the coarsest level of its pyramid (stride of two
    patches) has moved by :func:`moves`; p is a target and passes no gradient, p′ passes it to the decoder and,
    through the moved features, to the backbone's side. The move itself is a constant.

    A pyramid's coarsest level is the mean or the maximum over 2 × 2 tokens of the last tapped block. Adding one
    vector to all four adds it to either, so the last block's map is moved, by what is computed on its means,
    and no decoder is taken apart.

    The released adapter is, but for names, SoMA's as released (:mod:`baselines.soma_as_released`); what the
    paper intends is here. 4,866,048 parameters on a ViT-L, published as 4.70 M. Two more differences: p is the
    softmax of the decoder's logits, where the released code takes one of Mask2Former's semantic scores, which
    already lie in 0..1; and the paper's prototype bank and its product with the adapter's output, which the
    released code does not use, are absent. It also pools levels of more than 1,024 tokens, which crops of up to
    1,024 pixels do not have.
    """

    label = "GeCo"
    source = "GeCo, CVPR 2026; its released code"
    Settings = GeCoSettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Attach as SoMA does; keep what the backbone hands to the decoder until the step is over."""
        super().attach(backbone, rng)
        self._features: list[Tensor] = []
        self.hook(backbone.register_forward_hook(self._keep))

    def _keep(self, backbone: Backbone, args: tuple[Any, ...], output: list[Tensor]) -> None:
        self._features = output if torch.is_grad_enabled() else []

    def losses(self, decoding: Decoding) -> dict[str, Tensor]:
        """Return the regulariser, ``{"geometry": scalar}``; nothing before its warm-up is over."""
        features, self._features = [level.float() for level in self._features], []
        if decoding.step < self.settings.warmup * decoding.steps:
            return {}
        # In float32 whatever the run's precision: bfloat16 would round a move of 0.3 % away.
        with torch.autocast(features[-1].device.type, enabled=False):
            with torch.no_grad():
                clean = decoding.decode(features)
                move = self._move(features[-1], decoding.rng, decoding.micro_batch)
            moved = decoding.decode([*features[:-1], features[-1] + move])
        return {"geometry": self.settings.strength * squared_angle(clean, moved).mean()}

    def _move(self, level: Tensor, rng: torch.Generator, micro_batch: MicroBatch = WHOLE) -> Tensor:
        """Return what to add to the last map (B, D, h, w), alike on each 2 x 2 tokens."""
        s, (height, width) = self.settings, level.shape[-2:]
        coarse = F.avg_pool2d(level, 2, ceil_mode=True, count_include_pad=False)
        tokens = coarse.flatten(2).mT
        chance = micro_batch.draw(torch.randn, tokens.shape, rng).to(tokens.device)
        move = moves(tokens, chance, s.neighbours, s.dimensions, s.radius, s.normal).mT.reshape(coarse.shape)
        return move.repeat_interleave(2, -2).repeat_interleave(2, -1)[..., :height, :width]


def local_geometry(tokens: Tensor, neighbours: int, dimensions: int) -> tuple[Tensor, Tensor]:
    """Return the tangent space and the curvature at each token, from its most similar neighbours.

    Tokens are taken at unit length. The principal axes of the offsets to the k neighbours, not centred, span the
    tangent space; κ = energy of the offsets outside of it / energy of the offsets. Fewer than k + 1 tokens are
    all neighbours. Where the offsets span fewer than d dimensions, the remaining axes are zero.

    Args:
        tokens: (B, n, D), each image's own.
        neighbours: k.
        dimensions: d.

    Returns:
        axes (B, n, min(d, k), D), orthonormal or zero, and κ (B, n) in 0..1.
    """
    unit = F.normalize(tokens, dim=-1)
    similarity = unit @ unit.mT
    similarity.diagonal(dim1=-2, dim2=-1).fill_(-torch.inf)
    count = min(neighbours, unit.shape[1] - 1)
    nearest = similarity.topk(count).indices
    images = torch.arange(len(unit), device=unit.device)[:, None, None]
    offsets = unit[images, nearest] - unit[:, :, None]
    energies, vectors = torch.linalg.eigh(offsets @ offsets.mT)  # ascending; of size k, not D
    energies, vectors = energies[..., -dimensions:], vectors[..., -dimensions:]
    total = offsets.square().sum((-2, -1))
    real = energies > FLAT * total[..., None]
    scale = torch.where(real, energies.clamp(min=TINY).rsqrt(), 0.0)
    kappa = 1 - energies.sum(-1) / total.clamp(min=TINY)
    return scale[..., None] * (vectors.mT @ offsets), kappa.clamp(0, 1) * (total > 0)


def moves(tokens: Tensor, chance: Tensor, neighbours: int, dimensions: int, radius: float, normal: float) -> Tensor:
    """Return a small move of each token: along the tangent space where features curve, also off it elsewhere.

    ``chance`` = t + n, tangent and normal part. The direction is t where κ is at least the image's (lower)
    median and t + ``normal`` · n elsewhere; the length is radius / (1 + κ) times the token's root mean square.

    Args:
        tokens: (B, n, D).
        chance: (B, n, D), standard normal.
        neighbours: k of :func:`local_geometry`.
        dimensions: d likewise.
        radius: see above.
        normal: see above.

    Returns:
        (B, n, D); zero where an image has one token only.
    """
    if tokens.shape[1] < 2:
        return torch.zeros_like(tokens)
    axes, kappa = local_geometry(tokens, neighbours, dimensions)
    tangent = ((axes @ chance[..., None]) * axes).sum(-2)
    curved = kappa >= kappa.median(dim=1, keepdim=True).values
    off = torch.where(curved, 0.0, normal)[..., None] * (chance - tangent)
    length = radius / (1 + kappa)[..., None] * tokens.square().mean(-1, keepdim=True).sqrt()
    return length * F.normalize(tangent + off, dim=-1)


def squared_angle(clean: Tensor, moved: Tensor) -> Tensor:
    """Return acos²(Σ √(p p′)) per position, (B, h, w), of logits (B, C, h, w).

    √p and √p′ are unit vectors: the angle between them is 2 asin(|√p - √p′| / 2), which is exact for small ones,
    where acos of a sum near 1 is rounding and its slope infinite.
    """
    roots = [(logits.log_softmax(1) / 2).exp() for logits in (clean, moved)]
    chord = (roots[0] - roots[1]).square().sum(1).clamp(min=1e-12).sqrt()
    return (2 * (chord / 2).asin()).square()


METHOD = GeCo
