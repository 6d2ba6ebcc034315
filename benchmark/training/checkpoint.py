"""A run's checkpoint: one file, replaced atomically, read without unpickling code."""

from __future__ import annotations

import logging
import zipfile
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch

from benchmark.common import atomic, reading
from benchmark.common.atomic import writing
from benchmark.common.errors import UserError

log = logging.getLogger(__name__)


class UnfitError(Exception):
    """A complete checkpoint with the right key does not fit the run, which is then partly overwritten."""


def size(weights: int, decoder: int, trained: int, tunable: int, estimates: int = 0) -> int:
    """Return the approximate maximum size of a checkpoint in float32, in bytes.

    Args:
        weights: number of values of backbone and decoder, trained or not; all are saved.
        decoder: the decoder's values, included in ``weights``.
        trained: trainable values of the backbone and of added modules.
        tunable: values of the tensors that contain these; if there are more, each pair of moments has an index.
        estimates: values that the method estimates before it trains; they are gone by then.
    """
    return 4 * weights + 8 * decoder + max((8 if trained == tunable else 12) * trained, 4 * estimates)


def require_room(path: Path, needed: int) -> None:
    """Check that two checkpoints of ``needed`` bytes fit on the disk: the new one is written beside the old one.

    Raises:
        UserError: they do not.
    """
    here = path.stat().st_size if path.exists() else 0
    left = atomic.free(path.parent)
    if left + here < 2 * needed:
        raise UserError(
            f"{path.parent}: {left / 1e9:.3f} GB are free, a run needs up to {(2 * needed - here) / 1e9:.3f} GB (two "
            "checkpoints, later one and the record); free some space, or give another --records"
        )


def write(path: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint at ``path`` by ``state``: tensors, numbers, strings, lists and dicts.

    Tensors are written one by one, since a large model leaves no memory for a copy as bytes.

    Raises:
        UserError: the folder cannot be written or the disk is full; the older checkpoint stays.
    """
    with writing(path):
        atomic.write_by(path, partial(_save, state))


def _save(state: dict[str, Any], file: BinaryIO) -> None:
    kept = _File(file)
    try:
        torch.save(state, kept)  # type: ignore[arg-type]  # it has the methods that torch calls
    except RuntimeError as error:
        # torch closes its archive even after a failed or interrupted write; the second failure hides the first.
        raise (kept.error or error.__context__ or error) from None


class _File:
    """A file that remembers its first write error."""

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


def _require_stored(path: Path) -> None:
    """Check that nothing in the archive is compressed, as in all that torch writes: it could grow without limit.

    Raises:
        zipfile.BadZipFile: something is, or this is not an archive.
    """
    with zipfile.ZipFile(path) as archive:
        if any(each.compress_type != zipfile.ZIP_STORED for each in archive.infolist()):
            raise zipfile.BadZipFile("compressed")


def read(path: Path, key: str) -> dict[str, Any] | None:
    """Return the checkpoint at ``path``, or None if there is none for ``key``.

    A damaged checkpoint, or one for other conditions, is ignored with a warning, and the run starts from scratch.

    Raises:
        UserError: what is there is not a regular file.
    """
    if not reading.present(path):
        return None
    try:
        reading.require_regular(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; remove it, then run again") from None
    try:
        _require_stored(path)
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds of errors for a damaged file
        log.warning("%s: damaged checkpoint (%s); starting from scratch", path, type(error).__name__)
        return None
    if not isinstance(state, dict) or state.get("key") != key:
        log.warning("%s: checkpoint of other conditions; starting from scratch", path)
        return None
    return state
