"""Vision foundation models through one interface: images in, block outputs out.

Methods reach a backbone by hooks on ``.blocks``; nothing here knows that they exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmark.common import rng
from benchmark.common.errors import UserError
from benchmark.common.microbatch import current
from benchmark.models import hub
from benchmark.models.catalogue import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    BackboneSpec,
    Normalisation,
    fed_with,
    find_backbone,
    repository_of,
)
from benchmark.models.weights import Resample, fit, load_embedded, load_into, read, renamed


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
        spec: what the catalogue says of it.
        origin: in words, where its weights are from, with the SHA-256 of their file.
    """

    vit: Any

    def __init__(self, vit: nn.Module, spec: BackboneSpec) -> None:
        super().__init__()
        self.vit = vit
        self.name = spec.name
        self.out_indices = spec.out_indices
        self.mean, self.std = spec.mean or IMAGENET_MEAN, spec.std or IMAGENET_STD
        self.spec, self.origin = spec, "random"
        self.embed_dim: int = self.vit.embed_dim
        self.depth = len(self.blocks)
        self.patch_size: int = self.vit.patch_embed.patch_size[0]
        self.prefix_tokens: int = getattr(self.vit, "num_prefix_tokens", 0)

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks; forward hooks on them are honoured."""
        return cast(nn.ModuleList, self.vit.blocks)

    def facts(self) -> dict[str, Any]:
        """Return what decides what this backbone computes, JSON-ready, for a run's record."""
        return {
            "timm": self.spec.timm,
            "options": dict(self.spec.options),
            "taps": list(self.out_indices),
            "mean": list(self.mean),
            "std": list(self.std),
            "origin": self.origin,
        }

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
            F.pad(images, padding), indices=list(self.out_indices), stop_early=True, intermediates_only=True
        )


def build_backbone(
    name: str,
    *,
    pretrained: bool = True,
    weights: Path | None = None,
    revision: str | None = None,
    resample: Resample = "bicubic",
    normalisation: Normalisation = "imagenet",
    seed: int = 0,
) -> Backbone:
    """Build a backbone by name.

    Args:
        name: one of :func:`benchmark.models.catalogue.backbone_names`.
        pretrained: load the foundation model's weights; False leaves the random initialisation.
        weights: safetensors file to load instead of embedded or downloaded ones, with the tensors of the
            backbone itself or of timm's published file (another patch or image size is resampled).
        revision: commit, tag or branch of the VFM's hub repository, instead of the catalogue's.
        resample: how patch kernels and position tables change their size, see :func:`weights.fit`.
        normalisation: whose mean and standard deviation images are brought to, see :func:`catalogue.fed_with`.
        seed: of the random initialisation, which leaves torch's global generator untouched.

    Raises:
        UserError: unknown name; weights that cannot be had, are damaged or belong to another architecture.
    """
    spec = fed_with(find_backbone(name), normalisation)
    if revision is not None and (weights is not None or spec.weights != "hub"):
        raise UserError(f"--revision {revision}: backbone {name!r} does not get its weights from the hub; leave it out")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.derive_seed(seed, "backbone", spec.name))
        backbone = Backbone(_vit(spec, spec.options), spec)
    if weights is None and (not pretrained or spec.weights == "none"):
        return backbone
    tensors, origin = _tensors(spec, weights, revision)
    if spec.weights == "hub" and set(tensors) != set(backbone.vit.state_dict()):
        tensors = renamed(tensors, _native(spec), origin)
    load_into(backbone.vit, fit(tensors, backbone.vit, resample), origin)
    backbone.origin = origin if weights is None else origin.replace(str(weights), weights.name, 1)
    return backbone


def checkpoint_blocks(backbone: Backbone) -> None:
    """Let blocks keep their inputs alone for the backward pass, which computes the rest again, with the same chance.

    Hooks on blocks run as before, once. What they keep stays.

    Args:
        backbone: with the method attached.
    """
    for block in backbone.blocks:
        block.forward = partial(_checkpointed, block.forward)


def _checkpointed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    micro_batch = current()  # the backward pass is outside of its context
    return checkpoint(
        forward, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), micro_batch.chance()), **kwargs
    )


def _tensors(spec: BackboneSpec, file: Path | None, revision: str | None) -> tuple[dict[str, Tensor], str]:
    """Return the pre-trained tensors, and in words where they are from, with the SHA-256 of the file."""
    if file is not None:
        tensors, sha256 = read(file)
        return tensors, f"{file} (SHA-256 {sha256})"
    if spec.weights == "embedded":
        tensors, sha256 = load_embedded(spec.name)
        return tensors, f"embedded weights {spec.name} (SHA-256 {sha256})"
    repository = repository_of(spec)
    path = hub.fetch(repository, revision or spec.revision)
    tensors, sha256 = read(path, hub.promised_hash(path))
    return tensors, f"{repository}@{hub.commit(path)} (SHA-256 {sha256})"


def _vit(spec: BackboneSpec, options: Mapping[str, Any]) -> nn.Module:
    """Make the timm model with random weights."""
    import timm

    if not spec.timm.startswith("samvit"):
        return timm.create_model(spec.timm, pretrained=False, num_classes=0, dynamic_img_size=True, **options)
    # SAM's blocks take any grid as they are, its relative positions stay those of 1024 px and are resampled as it
    # runs (so does Rein's SAM, which its parameters show); only the table of absolute positions has the crop's size.
    own = dict(options)
    size = own.pop("img_size", None)
    vit = timm.create_model(spec.timm, pretrained=False, num_classes=0, **own)
    vit.neck = nn.Identity()  # read by SAM's own decoder; ours reads the blocks
    if size is not None:
        side = size // vit.patch_embed.patch_size[0]
        vit.pos_embed = nn.Parameter(vit.pos_embed.new_zeros(1, side, side, vit.embed_dim))
    return vit


def _native(spec: BackboneSpec) -> nn.Module:
    """Make the timm model at the size of its published weights, without memory for them."""
    with torch.device("meta"):
        return _vit(spec, {})
