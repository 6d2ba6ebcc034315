"""GeCo: SoMA's adapter plus a consistency loss under perturbations along the local geometry of the features."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines._minor_components import MinorComponents, MinorComponentSettings
from benchmark.method import WHOLE, Decoding, MicroBatch, setting
from benchmark.models.backbone import Backbone

TINY = torch.finfo(torch.float32).tiny
COINCIDENT = 1e-6  # added to the squared distance of a neighbour: one at the token itself has no curvature
SMALLEST = 1e-6  # 1 - Σ √(p p′) of predictions that count as equal
FLAT = 1e-5  # eigenvalues below this fraction of the total are rounding errors with arbitrary direction


class GeCoSettings(MinorComponentSettings):
    """SoMA's values, and those of the released code for the regulariser."""

    strength: float = setting(0.1, "paper", "weight of the regulariser in the loss", ge=0)
    warmup: float = setting(0.025, "paper", "fraction of the iterations without it: 1,000 of 40,000", ge=0, le=1)
    neighbours: int = setting(8, "paper", "k, number of most similar tokens of the same image", ge=1)
    dimensions: int = setting(4, "paper", "d, dimension of the local tangent space", ge=1)
    radius: float = setting(0.1, "paper", "length of the perturbation at κ = 0, relative to the RMS of the token", gt=0)
    normal: float = setting(0.2, "paper", "weight of the normal component where κ is below the median", ge=0)


class GeCo(MinorComponents):
    """Adapter as in :mod:`baselines.soma`, starting at the pre-trained model, plus 0.1 · mean acos²(Σ √(p p′)).

    p are the class probabilities of each pixel, at the size of the images; p′ are those after perturbing the coarsest
    level of the decoder's feature pyramid (stride of two patches) by :func:`moves`. p is a detached target. Gradients
    of p′ reach the decoder and, through the perturbed features, the backbone. The perturbation itself is detached.

    The coarsest level is the mean or maximum over 2 × 2 tokens of the last block that the decoder reads. Adding the
    same vector to all four tokens adds it to their mean and maximum. The perturbation is therefore computed on the
    means and added to the last block's map, without changes to the decoder.

    Differences from the released code:

    - Its adapter is SoMA's as released (:mod:`methods.ablations.soma_as_released`). Here, it is the one described in
      the paper: 4,866,048 parameters on a ViT-L, published as 4.70 M.
    - p is the softmax of the decoder's logits. The released code applies a softmax to Mask2Former's semantic scores,
      which are already in 0..1. It also raises every probability to at least 10⁻⁶.
    - The paper's prototype bank and its product with the adapter's output are absent; the released code does not use
      them.
    - The released code pools levels with more than 1,024 tokens, which crops of up to 1,024 pixels do not reach.
    """

    label = "GeCo"
    source = "GeCo, CVPR 2026; its released code"
    Settings = GeCoSettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Attach as SoMA does, and store the features that the backbone passes to the decoder."""
        super().attach(backbone, rng)
        self._features: list[Tensor] = []
        self.hook(backbone.register_forward_hook(self._keep))

    def _keep(self, backbone: Backbone, args: tuple[Any, ...], output: list[Tensor]) -> None:
        self._features = output if torch.is_grad_enabled() else []

    def losses(self, decoding: Decoding) -> dict[str, Tensor]:
        """Return the regulariser, ``{"geometry": scalar}``, or nothing during its warm-up."""
        features, self._features = [level.float() for level in self._features], []
        if decoding.step < self.settings.warmup * decoding.steps:
            return {}
        # In float32 for every precision of the run: bfloat16 would round away a change of 0.3 %.
        with torch.autocast(features[-1].device.type, enabled=False):
            with torch.no_grad():
                clean = decoding.decode(features)
                move = self._move(features[-1], decoding.rng, decoding.micro_batch)
            moved = decoding.decode([*features[:-1], features[-1] + move])
        return {"geometry": self.settings.strength * squared_angle(clean, moved).mean()}

    def _move(self, level: Tensor, rng: torch.Generator, micro_batch: MicroBatch = WHOLE) -> Tensor:
        """Return the perturbation of the last map (B, D, h, w), constant over each 2 x 2 tokens."""
        s, (height, width) = self.settings, level.shape[-2:]
        coarse = F.avg_pool2d(level, 2, ceil_mode=True, count_include_pad=False)
        tokens = coarse.flatten(2).mT
        noise = micro_batch.draw(torch.randn, tokens.shape, rng).to(tokens.device)
        move = moves(tokens, noise, s.neighbours, s.dimensions, s.radius, s.normal).mT.reshape(coarse.shape)
        return move.repeat_interleave(2, -2).repeat_interleave(2, -1)[..., :height, :width]


def local_geometry(tokens: Tensor, neighbours: int, dimensions: int) -> tuple[Tensor, Tensor]:
    """Return the tangent space and curvature at each token, from its most similar tokens.

    Tokens are normalised to unit length. The tangent space is spanned by the principal axes of the (uncentred) offsets
    to the k nearest tokens. κ is the mean over these tokens of the fraction of the offset's energy that lies outside
    the tangent space: each neighbour counts equally, however far it is. A neighbour that equals the token counts as 0.
    If there are fewer than k + 1 tokens, all others are neighbours. If the offsets span fewer than d dimensions, the
    remaining axes are zero.

    Args:
        tokens: (B, n, D); neighbours are searched within an image.
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
    along = vectors.mT @ offsets
    outside = (offsets - vectors @ along).square().sum(-1)
    kappa = (outside / (offsets.square().sum(-1) + COINCIDENT)).mean(-1)
    return scale[..., None] * along, kappa.clamp(0, 1)


def moves(tokens: Tensor, noise: Tensor, neighbours: int, dimensions: int, radius: float, normal: float) -> Tensor:
    """Return a small perturbation of each token, along the tangent space and, at low curvature, also off it.

    ``noise`` = t + n with tangent component t and normal component n. The direction is t where κ is at least the
    median of the image, and t + ``normal`` · n elsewhere. The length is radius / (1 + κ) times the RMS of the token.

    Args:
        tokens: (B, n, D).
        noise: (B, n, D), standard normal.
        neighbours: k, see :func:`local_geometry`.
        dimensions: d, see :func:`local_geometry`.
        radius: see above.
        normal: see above.

    Returns:
        (B, n, D); zero if there is only one token per image.
    """
    if tokens.shape[1] < 2:
        return torch.zeros_like(tokens)
    axes, kappa = local_geometry(tokens, neighbours, dimensions)
    tangent = ((axes @ noise[..., None]) * axes).sum(-2)
    curved = kappa >= kappa.quantile(0.5, dim=1, keepdim=True)  # median() would return the lower of two middle values
    off = torch.where(curved, 0.0, normal)[..., None] * (noise - tangent)
    length = radius / (1 + kappa)[..., None] * tokens.square().mean(-1, keepdim=True).sqrt()
    return length * F.normalize(tangent + off, dim=-1)


def squared_angle(clean: Tensor, moved: Tensor) -> Tensor:
    """Return acos²(min(Σ √(p p′), 1 - 10⁻⁶)) per pixel, (B, H, W), for logits (B, C, H, W).

    The limit keeps the gradient finite: that of equal predictions is 0. √p and √p′ are unit vectors with
    |√p - √p′|² = 2 (1 - Σ √(p p′)), and the angle between them is 2 asin(|√p - √p′| / 2). This is accurate for small
    angles, where acos near 1 loses all digits.
    """
    roots = [(logits.log_softmax(1) / 2).exp() for logits in (clean, moved)]
    chord = (roots[0] - roots[1]).square().sum(1).clamp(min=2 * SMALLEST).sqrt()
    return (2 * (chord / 2).asin()).square()


METHOD = GeCo
