"""Weight files: reading, checking, hashing, and resampling to another patch or image size."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from torch import Tensor, nn

from benchmark.common import reading
from benchmark.common.errors import UserError
from benchmark.common.hashing import sha256_of
from benchmark.models import pickled

EMBEDDED = Path(__file__).with_name("weights")
PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LARGEST = 64 << 30
"""Bytes of a file of weights; the largest VFM in use has 27 GB in float32."""
READABLE = [str(dtype).removeprefix("torch.") for dtype in PRECISIONS]
Resample = Literal["bicubic", "pi"]


def load_safetensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Args:
        path: the file.
        sha256: expected SHA-256 of the file, if known.

    Raises:
        UserError: the file is missing, is not a complete safetensors file, or has another hash.
    """
    return parsed(read_bytes(path, sha256)[0], path)


def read(path: Path, sha256: str | None = None) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a safetensors file, or of a state dict that torch saved, and the SHA-256 of the file.

    Args:
        path: the file; its content decides about the format, not its name.
        sha256: expected SHA-256 of the file, if known.

    Raises:
        UserError: as :func:`load_safetensors` and :func:`pickled.state_dict`.
    """
    data, found = read_bytes(path, sha256)
    return pickled.state_dict(data, path) if pickled.recognised(data) else parsed(data, path), found


def read_bytes(path: Path, sha256: str | None = None, remedy: str = "replace it") -> tuple[bytes, str]:
    """Return the content of a file of weights and its SHA-256.

    Args:
        path: the file.
        sha256: expected SHA-256 of the file, if known.
        remedy: what the user can do about a file with another hash, for messages.

    Raises:
        UserError: the file cannot be read or has another hash.
    """
    try:
        reading.require_regular(path, LARGEST)
        found = sha256_of(path)  # before the file is read, since a wrong one may be too large for the memory
        if sha256 is not None and found != sha256:
            raise UserError(f"{path}: SHA-256 is {found}, expected {sha256}; damaged or another version; {remedy}")
        return reading.read_bytes(path), found
    except OSError as error:
        raise UserError(f"{path}: cannot read weights ({error.strerror}); name a file of weights") from error


def parsed(data: bytes, origin: Path | str) -> dict[str, Tensor]:
    """Return the tensors in the bytes of a safetensors file; ``origin`` names the source in messages.

    Raises:
        UserError: not a complete safetensors file, or a tensor has a dtype that torch does not support.
    """
    try:
        return parse_safetensors(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        found = hashlib.sha256(data).hexdigest()
        raise UserError(f"{origin}: truncated or not safetensors ({error}); SHA-256 {found}") from error


def load_embedded(name: str) -> tuple[dict[str, Tensor], str]:
    """Return weights embedded in this repository and their hash, which is checked against their JSON file.

    Raises:
        UserError: the weights are missing, or their hash differs from the one in the JSON file.
    """
    card = EMBEDDED / f"{name}.json"
    if not reading.present(card):
        raise UserError(f"{card}: no such embedded weights; create them with: python -m benchmark pretrain")
    sha256 = json.loads(reading.read_text(card))["sha256"]
    return read(EMBEDDED / f"{name}.safetensors", sha256)


def load_into(module: nn.Module, tensors: dict[str, Tensor], origin: str) -> None:
    """Copy ``tensors`` into ``module``, converted to its precision; names and shapes must match.

    Raises:
        UserError: a tensor is missing, unexpected, of another shape, or has values that are not finite; ``origin``
            names the source.
    """
    own = module.state_dict()
    check(tensors, own, origin)
    converted = {name: tensor.to(own[name].dtype) for name, tensor in tensors.items()}
    for name, tensor in converted.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(
                f"{origin}: tensor {name!r} has values that are not finite; use another copy of the weights"
            )
    module.load_state_dict(converted)


def check(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], origin: str) -> None:
    """Check that ``tensors`` have the names and shapes of ``own``; values are not compared.

    Raises:
        UserError: a tensor is missing, unexpected, of another shape, or not of floating point; ``origin`` names the
            source.
    """
    for name in [*own, *tensors]:
        if name not in tensors or name not in own:
            what = "lacks" if name not in tensors else "has an unknown"
            raise UserError(f"{origin}: {what} tensor {name!r}; these are weights of another architecture")
        if own[name].is_floating_point() and tensors[name].dtype not in PRECISIONS:
            stored = str(tensors[name].dtype).removeprefix("torch.")
            raise UserError(f"{origin}: tensor {name!r} is {stored}; convert it to one of {', '.join(READABLE)}")
        if own[name].shape != tensors[name].shape:
            found, expected = tuple(tensors[name].shape), tuple(own[name].shape)
            raise UserError(f"{origin}: tensor {name!r} is {found}, expected {expected}")


def weight_hash(module: nn.Module) -> str:
    """Return the SHA-256 of the names, dtypes, shapes and bytes of parameters and buffers, sorted by name."""
    return tensors_hash(module.state_dict())


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """Return :func:`weight_hash` of a module from its state dict."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def renamed(tensors: dict[str, Tensor], model: nn.Module, origin: str) -> dict[str, Tensor]:
    """Return a VFM's published tensors under timm's names, without those that ``model`` lacks.

    Args:
        tensors: as published by timm or upstream.
        model: the timm model at its native size, possibly on the meta device; only names and shapes are used.
        origin: source of the tensors, for messages.

    Raises:
        UserError: a tensor is missing.
    """
    wanted = model.state_dict()
    try:  # the module of each timm model family has a converter of upstream names
        found = sys.modules[type(model).__module__].checkpoint_filter_fn(tensors, model)
    except Exception:  # converters fail in many ways on tensors of another model; the names are checked below
        found = tensors
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise UserError(f"{origin}: lacks tensor {missing[0]!r}; these are weights of another architecture")
    return {name: found[name] for name in wanted}


def fit(tensors: dict[str, Tensor], model: nn.Module, how: Resample) -> dict[str, Tensor]:
    """Return ``tensors`` with patch kernel and position embeddings resampled to the sizes of ``model``.

    For images of another size than the model's, timm resamples the position embeddings again in the forward pass.

    Args:
        tensors: weights of the same architecture, for any patch and image size.
        model: the timm model.
        how: ``bicubic`` for plain interpolation of both, as in Rein's conversion scripts; ``pi`` for timm's method:
            pseudo-inverse resize of the kernel (FlexiViT, Beyer et al., CVPR 2023), anti-aliased position embeddings.
    """
    own, fitted = model.state_dict(), dict(tensors)
    kernel, positions = tensors.get("patch_embed.proj.weight"), tensors.get("pos_embed")
    # Tensors that cannot be resampled are left unchanged, and `load_into` reports what is wrong with them.
    if kernel is not None and _another_size(kernel, own["patch_embed.proj.weight"], (2, 3)):
        size = own["patch_embed.proj.weight"].shape[-1]
        fitted["patch_embed.proj.weight"] = _resample_kernel(kernel, size, how)
    if positions is not None and "pos_embed" in own:
        if _another_size(positions, own["pos_embed"], (1, 2)) and positions.ndim == 4:  # SAM's (1, h, w, D)
            fitted["pos_embed"] = _resample_grid(positions, own["pos_embed"].shape[1], how)
        elif _another_size(positions, own["pos_embed"], (1,)) and positions.ndim == 3:
            embeds_prefix = not getattr(model, "no_embed_class", False)
            prefix = int(getattr(model, "num_prefix_tokens", 0)) if embeds_prefix else 0
            if _is_square(positions.shape[1] - prefix):
                fitted["pos_embed"] = _resample_positions(positions, own["pos_embed"].shape[1], prefix, how)
    return fitted


def _another_size(tensor: Tensor, own: Tensor, sides: tuple[int, ...]) -> bool:
    """Return whether ``tensor``, of floating point, differs from ``own`` only in ``sides``, of which none is empty."""
    same = tensor.ndim == own.ndim and all(
        old == new or (axis in sides and old > 0)
        for axis, (old, new) in enumerate(zip(tensor.shape, own.shape, strict=True))
    )
    return same and tensor.shape != own.shape and tensor.dtype in PRECISIONS


def _is_square(count: int) -> bool:
    return count > 0 and math.isqrt(count) ** 2 == count


def _resample_kernel(kernel: Tensor, size: int, how: Resample) -> Tensor:
    """Resample a (D, 3, p, p) patch kernel to (D, 3, size, size)."""
    if how == "bicubic":
        return F.interpolate(kernel.float(), size=(size, size), mode="bicubic", align_corners=False)
    from timm.layers import resample_patch_embed

    return resample_patch_embed(kernel.float(), [size, size])


def _resample_positions(table: Tensor, length: int, prefix: int, how: Resample) -> Tensor:
    """Resample the (1, prefix + n^2, D) embeddings of a square grid to ``length`` rows; the prefix does not change."""
    old, new = math.isqrt(table.shape[1] - prefix), math.isqrt(length - prefix)
    grid = _resample_grid(table[:, prefix:].unflatten(1, (old, old)), new, how)
    return torch.cat([table[:, :prefix].float(), grid.flatten(1, 2)], dim=1)


def _resample_grid(grid: Tensor, side: int, how: Resample) -> Tensor:
    """Resample (1, h, w, D) embeddings to (1, side, side, D)."""
    channels_first = grid.float().permute(0, 3, 1, 2)
    resized = F.interpolate(
        channels_first, size=(side, side), mode="bicubic", align_corners=False, antialias=how == "pi"
    )
    return resized.permute(0, 2, 3, 1)
