"""Vision foundation models through one interface: images in, block outputs out.

Methods reach a backbone by hooks on ``.blocks``; nothing here knows that they exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark import streams
from benchmark.models.catalogue import BackboneSpec, find_backbone
from benchmark.models.weights import Resample, fit, load_embedded, load_into, load_safetensors, published


class Backbone(nn.Module):
    """A timm vision transformer and what the rest of the benchmark must know of it.

    Attributes:
        vit: the timm model.
        name: as the user types it.
        embed_dim: width D of a token.
        depth: number of blocks.
        patch_size: pixels per token and side.
        prefix_tokens: class and register tokens before the patch tokens; 0 where tokens are (B, h, w, D).
        taps: 0-based blocks whose outputs :meth:`forward` returns.
        mean: of RGB in 0..255, per channel, to be subtracted by the caller.
        std: likewise, to divide by.
    """

    vit: Any

    def __init__(self, vit: nn.Module, spec: BackboneSpec) -> None:
        super().__init__()
        self.vit = vit
        self.name = spec.name
        self.taps = spec.taps
        self.mean, self.std = spec.mean, spec.std
        self.embed_dim: int = self.vit.embed_dim
        self.depth = len(self.blocks)
        self.patch_size: int = self.vit.patch_embed.patch_size[0]
        self.prefix_tokens: int = getattr(self.vit, "num_prefix_tokens", 0)

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks; forward hooks on them are honoured."""
        return cast(nn.ModuleList, self.vit.blocks)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of the tapped blocks, without final norm and without prefix tokens.

        Args:
            images: (B, 3, H, W), normalised. Sides that are no multiple of the patch size are padded with
                zeros at the bottom and at the right.

        Returns:
            One (B, D, ceil(H / patch), ceil(W / patch)) tensor per tap.
        """
        height, width = images.shape[-2:]
        padding = (0, -width % self.patch_size, 0, -height % self.patch_size)
        return self.vit.forward_intermediates(
            F.pad(images, padding), indices=list(self.taps), stop_early=True, intermediates_only=True
        )


def build_backbone(
    name: str,
    *,
    pretrained: bool = True,
    weights: Path | None = None,
    resample: Resample = "bicubic",
    seed: int = 0,
) -> Backbone:
    """Build a backbone by name.

    Args:
        name: one of :func:`benchmark.models.catalogue.backbone_names`.
        pretrained: load the foundation model's weights; False leaves the random initialisation.
        weights: safetensors file to load instead of embedded or downloaded ones, with the tensors of the
            backbone itself or of timm's published file (another patch or image size is resampled).
        resample: how patch kernels and position tables change their size, see :func:`weights.fit`.
        seed: of the random initialisation, which leaves torch's global generator untouched.

    Raises:
        UserError: unknown name; weights that cannot be had, are damaged or belong to another architecture.
    """
    spec = find_backbone(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(streams.number(seed, "backbone", spec.name))
        backbone = Backbone(_vit(spec, spec.options), spec)
    if weights is not None:
        tensors, origin = load_safetensors(weights), str(weights)
        if spec.weights == "hub" and set(tensors) != set(backbone.vit.state_dict()):
            tensors = published(_native(spec), weights)
    elif not pretrained or spec.weights == "none":
        return backbone
    elif spec.weights == "embedded":
        tensors, origin = load_embedded(spec.name), f"embedded weights {spec.name}"
    else:
        tensors, origin = published(_native(spec), None), f"hub weights {spec.timm}"
    load_into(backbone.vit, fit(tensors, backbone.vit, resample), origin)
    return backbone


def _vit(spec: BackboneSpec, options: Mapping[str, Any]) -> nn.Module:
    """Make the timm model with random weights."""
    import timm

    is_sam = spec.timm.startswith("samvit")
    flexible = {} if is_sam else {"dynamic_img_size": True}  # SAM's windowed blocks take any grid as they are
    vit = timm.create_model(spec.timm, pretrained=False, num_classes=0, **flexible, **options)
    if is_sam:
        vit.neck = nn.Identity()  # read by SAM's own decoder; ours reads the blocks
    return vit


def _native(spec: BackboneSpec) -> nn.Module:
    """Make the timm model at the size of its published weights, without memory for them."""
    with torch.device("meta"):
        return _vit(spec, {})
