"""Read state dicts that ``torch.save`` wrote (``.pth``, ``.pt``), without executing code from them."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.common.errors import UserError

WRAPPERS = ("state_dict", "model_state_dict", "teacher", "model")
"""Keys below which training programs keep the state dict, in the order in which they are looked for."""
DEPTH = 3
ZIP, PICKLE = b"PK\x03\x04", b"\x80"


def recognised(data: bytes) -> bool:
    """Return whether bytes start like a file of ``torch.save``, in its present or its old format."""
    # In a safetensors file, a JSON object follows 8 bytes of length, which may have any values.
    return data[8:9] != b"{" and data.startswith((ZIP, PICKLE))


def state_dict(data: bytes, origin: Path | str) -> dict[str, Tensor]:
    """Return the tensors of a state dict that ``torch.save`` wrote; ``origin`` names the source in messages.

    Only tensors and plain values are unpickled (``weights_only``), so nothing in the file is executed. The state dict
    may be nested as training programs do it, and other entries next to its tensors are ignored.

    Raises:
        UserError: a damaged file, one that contains other objects, or one without a state dict.
    """
    return contents(data, origin)[0]


def contents(data: bytes, origin: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return :func:`state_dict` and the file's other entries by name.

    Raises:
        UserError: as :func:`state_dict`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files fail in many ways
        found = hashlib.sha256(data).hexdigest()
        # torch's refusal names what it did not load, after advice for programmers. Importing the error's class would
        # mean importing the module that executes code.
        if type(error).__name__ == "UnpicklingError" and "GLOBAL" in str(error):
            raise UserError(
                f"{origin}: contains other objects than tensors, which could execute code and are not loaded; save its "
                f"state dict alone, with torch.save or as safetensors; SHA-256 {found}"
            ) from None
        raise UserError(f"{origin}: truncated or not a PyTorch file; SHA-256 {found}") from None
    tensors, rest = _tensors(loaded, origin)
    return {name: _plain(value, name, origin) for name, value in tensors.items()}, rest


def _tensors(loaded: Any, origin: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of the state dict in what was loaded, and the entries around it."""
    rest: dict[str, Any] = {}
    for _ in range(DEPTH):
        if not isinstance(loaded, Mapping):
            break
        wrapper = next((key for key in WRAPPERS if isinstance(loaded.get(key), Mapping)), None)
        if wrapper is None:
            break
        rest |= {str(key): value for key, value in loaded.items() if key != wrapper}
        loaded = loaded[wrapper]
    entries = loaded.items() if isinstance(loaded, Mapping) else ()
    found = {name: value for name, value in entries if isinstance(name, str) and isinstance(value, Tensor)}
    if not found:
        raise UserError(
            f"{origin}: has no state dict: neither its entries nor those of {', '.join(WRAPPERS)} are tensors"
        )
    return found, rest


def _plain(value: Tensor, name: str, origin: Path | str) -> Tensor:
    """Return a tensor without gradient; reject those that are not arrays of numbers."""
    usual = type(value) in (Tensor, nn.Parameter) and value.layout == torch.strided and value.device.type == "cpu"
    if not usual or value.is_quantized:
        raise UserError(f"{origin}: tensor {name!r} is sparse, quantised or without values")
    return value.detach()
