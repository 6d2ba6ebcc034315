"""A run's checkpoint: one file, replaced atomically, read without unpickling code."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import torch

from benchmark import atomic
from benchmark.errors import UserError

log = logging.getLogger(__name__)


def write(path: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint at ``path`` by ``state``: tensors, numbers, strings, lists and dicts.

    Raises:
        UserError: the folder cannot be written or the disk is full; the older checkpoint stays.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    try:
        atomic.write_file(path, buffer.getvalue())
    except OSError as error:
        raise UserError(f"{path}: cannot write the checkpoint: {error.strerror or error}") from None


def read(path: Path, key: str) -> dict[str, Any] | None:
    """Return the checkpoint at ``path``, or None where there is none that belongs to ``key``.

    One that is damaged or belongs to other conditions is left behind with a warning: the run starts anew.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        log.warning("%s: damaged checkpoint (%s); starting anew", path, type(error).__name__)
        return None
    if state.get("key") != key:
        log.warning("%s: checkpoint of other conditions; starting anew", path)
        return None
    return state
