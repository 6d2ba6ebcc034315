"""A run's checkpoint: one file, replaced atomically, read without unpickling code."""

from __future__ import annotations

import logging
import shutil
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch

from benchmark.common import atomic
from benchmark.common.atomic import writing
from benchmark.common.errors import UserError

log = logging.getLogger(__name__)


class UnfitError(Exception):
    """A whole checkpoint of these conditions does not fit what it is to be loaded into, which is half loaded then."""


def size(weights: int, decoder: int, trained: int, tunable: int, estimates: int = 0) -> int:
    """Return about how many bytes a checkpoint in float32 takes at most.

    Args:
        weights: values of backbone and decoder, trained or not; all of them are kept.
        decoder: the decoder's among them.
        trained: backbone-side values that train.
        tunable: the values of the tensors that hold these: where it is more, an index stands beside each pair of
            moments.
        estimates: values that the method has estimated before it trains, which are gone by then.
    """
    return 4 * weights + 8 * decoder + max((8 if trained == tunable else 12) * trained, 4 * estimates)


def free(folder: Path) -> int:
    """Return how many bytes may still be written to a folder, which need not exist yet."""
    folder = folder.absolute()
    return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free


def require_room(path: Path, needed: int) -> None:
    """See that a checkpoint of ``needed`` bytes fits on the disk beside an older one, and a record in place of one.

    Raises:
        UserError: it does not.
    """
    here = path.stat().st_size if path.exists() else 0
    left = free(path.parent)
    if left + here < 2 * needed:
        raise UserError(
            f"{path.parent}: {left / 1e9:.3f} GB are free, a run keeps up to {(2 * needed - here) / 1e9:.3f} GB (two "
            "checkpoints, at the end a record instead of one); make room, or give another --records"
        )


def write(path: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint at ``path`` by ``state``: tensors, numbers, strings, lists and dicts.

    It goes into the file tensor by tensor: beside a large model there is no memory for it as bytes.

    Raises:
        UserError: the folder cannot be written or the disk is full; the older checkpoint stays.
    """
    with writing(path):
        atomic.write_by(path, partial(_save, state))


def _save(state: dict[str, Any], file: BinaryIO) -> None:
    kept = _Kept(file)
    try:
        torch.save(state, kept)  # type: ignore[arg-type]  # it has what is called of a file
    except RuntimeError as error:
        # torch ends its archive even where it could not be written; that this fails, too, hides why.
        raise (kept.error or error) from None


class _Kept:
    """A file, and the first error in writing it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: BaseException | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data)
        except BaseException as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        self.file.flush()


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
    if not isinstance(state, dict) or state.get("key") != key:
        log.warning("%s: checkpoint of other conditions; starting anew", path)
        return None
    return state
