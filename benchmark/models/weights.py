"""Weight files: read whole or refused, hashed, and fitted to another patch or image size."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from torch import Tensor, nn

from benchmark.errors import UserError

EMBEDDED = Path(__file__).with_name("weights")
Resample = Literal["bicubic", "pi"]


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_safetensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Args:
        path: the file.
        sha256: what its bytes must hash to, when that is known.

    Raises:
        UserError: the file is missing, is not a whole safetensors file, or has another hash.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot read weights ({error.strerror}); name a safetensors file") from error
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise UserError(f"{path}: SHA-256 is {found}, expected {sha256}; damaged, or another version")
    try:
        return parse_safetensors(data)
    except SafetensorError as error:
        raise UserError(f"{path}: truncated or not safetensors ({error}); SHA-256 {found}") from error


def load_embedded(name: str) -> dict[str, Tensor]:
    """Return weights that are part of this repository, checked against the hash in their card.

    Raises:
        UserError: the weights are absent or differ from what the card describes.
    """
    card = EMBEDDED / f"{name}.json"
    if not card.is_file():
        raise UserError(f"{card}: no such embedded weights; make them with: python -m benchmark pretrain")
    sha256 = json.loads(card.read_text(encoding="utf-8"))["sha256"]
    return load_safetensors(EMBEDDED / f"{name}.safetensors", sha256)


def load_into(module: nn.Module, tensors: dict[str, Tensor], origin: str) -> None:
    """Copy ``tensors`` into ``module``, converting to its precision; names and shapes must agree.

    Raises:
        UserError: a tensor is missing, superfluous or of another shape; ``origin`` names the source.
    """
    own = module.state_dict()
    for name in [*own, *tensors]:
        if name not in tensors or name not in own:
            what = "lacks" if name not in tensors else "has an unknown"
            raise UserError(f"{origin}: {what} tensor {name!r}; these are weights of another architecture")
        if own[name].shape != tensors[name].shape:
            found, expected = tuple(tensors[name].shape), tuple(own[name].shape)
            raise UserError(f"{origin}: tensor {name!r} is {found}, expected {expected}")
    module.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in tensors.items()})


def weight_hash(module: nn.Module) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of parameters and buffers, sorted by name."""
    return tensors_hash(module.state_dict())


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """Return :func:`weight_hash` of the module whose state these are."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def published(model: nn.Module, file: Path | None) -> dict[str, Tensor]:
    """Return a VFM's published weights, under timm's names and at their own patch and image size.

    Args:
        model: the timm model at its native size; only names and shapes matter, it may be on the meta device.
        file: a copy of timm's safetensors file; None asks the hub (and its local cache).

    Raises:
        UserError: the hub cannot be reached and the cache is empty; the file is damaged or lacks tensors.
    """
    from timm.models import load_state_dict_from_hf

    config: Any = model.pretrained_cfg
    hub = str(config["hf_hub_id"])
    if file is not None:
        tensors, origin = load_safetensors(file), str(file)
    else:
        origin = f"hub weights {hub}"
        try:
            names = {"filename": config["hf_hub_filename"]} if config.get("hf_hub_filename") else {}
            tensors = load_state_dict_from_hf(hub, weights_only=True, **names)
        except Exception as error:  # network, hub and cache each raise their own kinds
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            remedy = "connect once, or name timm's safetensors file with --weights FILE"
            raise UserError(f"{hub}: cannot be fetched from the hub ({reason}); {remedy}") from error
    wanted = model.state_dict()
    try:  # every timm family keeps its converter of upstream names beside its model
        renamed = sys.modules[type(model).__module__].checkpoint_filter_fn(tensors, model)
    except (KeyError, RuntimeError, ValueError):
        renamed = tensors  # foreign tensors; the names tell below
    missing = sorted(set(wanted) - set(renamed))
    if missing:
        raise UserError(f"{origin}: lacks tensor {missing[0]!r}; these are weights of another architecture")
    return {name: renamed[name] for name in wanted}


def fit(tensors: dict[str, Tensor], model: nn.Module, how: Resample) -> dict[str, Tensor]:
    """Return ``tensors`` with patch kernel and position table resampled to the sizes that ``model`` has.

    Args:
        tensors: weights of the same architecture, at any patch and image size.
        model: the timm model to fit.
        how: ``bicubic`` interpolates both plainly, as Rein's conversion scripts do. ``pi`` is timm's way:
            pseudo-inverse resize of the kernel (FlexiViT, Beyer et al., CVPR 2023), anti-aliased positions.
    """
    own, fitted = model.state_dict(), dict(tensors)
    kernel, positions = tensors.get("patch_embed.proj.weight"), tensors.get("pos_embed")
    if kernel is not None and kernel.shape != own["patch_embed.proj.weight"].shape:
        size = own["patch_embed.proj.weight"].shape[-1]
        fitted["patch_embed.proj.weight"] = _resample_kernel(kernel, size, how)
    if positions is not None and positions.ndim == 3 and positions.shape != own["pos_embed"].shape:
        embeds_prefix = not getattr(model, "no_embed_class", False)
        prefix = int(getattr(model, "num_prefix_tokens", 0)) if embeds_prefix else 0
        fitted["pos_embed"] = _resample_positions(positions, own["pos_embed"].shape[1], prefix, how)
    return fitted


def _resample_kernel(kernel: Tensor, size: int, how: Resample) -> Tensor:
    """Resample a (D, 3, p, p) patch kernel to (D, 3, size, size)."""
    if how == "bicubic":
        return F.interpolate(kernel.float(), size=(size, size), mode="bicubic", align_corners=False)
    from timm.layers import resample_patch_embed

    return resample_patch_embed(kernel.float(), [size, size])


def _resample_positions(table: Tensor, length: int, prefix: int, how: Resample) -> Tensor:
    """Resample a (1, prefix + n^2, D) table of a square grid to ``length`` rows, its prefix as it is."""
    old, new = math.isqrt(table.shape[1] - prefix), math.isqrt(length - prefix)
    grid = table[:, prefix:].float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False, antialias=how == "pi")
    return torch.cat([table[:, :prefix].float(), grid.flatten(2).transpose(1, 2)], dim=1)
