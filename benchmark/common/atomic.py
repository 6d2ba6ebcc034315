"""Files that appear whole or not at all: write beside, flush to disk, rename."""

from __future__ import annotations

import errno
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from benchmark.common.errors import UserError

if sys.platform != "win32":
    import fcntl

Fill = Callable[[BinaryIO], object]
"""Writes a file's content into it, from its beginning."""


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write several files of one directory, of which the last vouches for the others.

    The last file exists only beside the others that it was written with: every new content is safe on disk
    before anything is renamed, the last file's old version goes first and its new one comes last. Killed
    anywhere, nothing that looks finished is half old and half new. The directory is made where it is absent.

    Raises:
        OSError: no permission, no space; nothing has been changed then.
    """
    _write({path: partial(_put, content) for path, content in files.items()})


def write_file(path: Path, content: bytes) -> None:
    """Write one file atomically; see :func:`write_files`."""
    write_files({path: content})


def write_by(path: Path, fill: Fill) -> None:
    """Write one file atomically, by a function that takes it open: what is large need not be held in memory as bytes.

    Raises:
        OSError: as :func:`write_files`. Whatever ``fill`` raises goes on; nothing has been changed then, either.
    """
    _write({path: fill})


def sync(directory: Path) -> None:
    """Flush a directory's entries to disk, so that a rename outlives a power cut (where the system can)."""
    if sys.platform != "win32":
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def writing(path: Path, remedy: str = "") -> Iterator[None]:
    """Turn an :class:`OSError` of the block into one line for the user.

    Args:
        path: the file or folder that is written.
        remedy: what the user can do, such as ``give another --output``.

    Raises:
        UserError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {reason(error, remedy)}") from error


def reason(error: OSError, remedy: str = "") -> str:
    """Return why a file cannot be written, and what to do about it: by the error's kind, or ``remedy``."""
    remedies = {
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some of your quota",
        errno.EFBIG: "allow larger files (ulimit -f)",
        errno.ENOTDIR: "move the file that stands where a folder is needed",
        errno.EEXIST: "move the file that stands where a folder is needed",
    }
    ways = filter(None, (remedies.get(error.errno or 0), remedy))
    return f"{error.strerror or error}; {' or '.join(ways) or 'make the folder writable or give another one'}"


def _write(files: Mapping[Path, Fill]) -> None:
    paths = list(files)
    directory = paths[0].parent
    directory.mkdir(parents=True, exist_ok=True)
    staged: dict[Path, Path] = {}
    with _locked(directory) as alone:
        if alone:
            _sweep(directory, paths)
        try:
            for path, fill in files.items():
                staged[path] = directory / f".{path.name}.{uuid.uuid4().hex}.tmp"
                _stage(staged[path], fill)
            if len(paths) > 1:
                paths[-1].unlink(missing_ok=True)
                sync(directory)
            for path in paths:
                os.replace(staged[path], path)
            sync(directory)
        finally:
            for temporary in staged.values():
                temporary.unlink(missing_ok=True)


def _put(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def _stage(path: Path, fill: Fill) -> None:
    with path.open("xb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())


def _sweep(directory: Path, paths: list[Path]) -> None:
    """Remove what killed writers left behind; only safe while nobody else is writing here."""
    starts = tuple(f".{path.name}." for path in paths)
    for entry in directory.iterdir():
        if entry.name.startswith(starts) and entry.name.endswith(".tmp"):
            entry.unlink(missing_ok=True)


@contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """Let one writer at a time into ``directory``; the system lets go of the lock even of a killed one.

    Yields whether the lock was had: some network file systems have none, and a reader's checks then remain.
    """
    if sys.platform == "win32":
        yield False
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        alone = False
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
            alone = True
        yield alone
    finally:
        os.close(handle)
