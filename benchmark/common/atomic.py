"""Atomic file writes: write a temporary file, flush it to disk, rename it."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from benchmark.common.errors import UserError
from benchmark.common.reading import no_file

if sys.platform != "win32":
    import fcntl

FULL = {errno.ENOSPC: "free some space", errno.EDQUOT: "free some of your quota"}
"""Errors of a write that finds no space, each with a remedy."""
Fill = Callable[[BinaryIO], object]
"""Writes a file's content to the open file that it is given."""


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write several files of one directory atomically; the last file marks the set as complete.

    All new contents are on disk before any file is renamed. The old version of the last file is removed first and
    its new version is put in place last, so the last file never exists next to others that it was not written with,
    even if the process is killed. The directory is created if it does not exist.

    Raises:
        OSError: no permission or no space. No file has been changed in that case.
    """
    _write({path: partial(_put, content) for path, content in files.items()})


def write_file(path: Path, content: bytes) -> None:
    """Write one file atomically; see :func:`write_files`."""
    write_files({path: content})


def write_by(path: Path, fill: Fill) -> None:
    """Write one file atomically with a function that fills the open file: for content too large to hold in memory.

    Raises:
        OSError: see :func:`write_files`. Exceptions of ``fill`` propagate; the file has not been changed then either.
    """
    _write({path: fill})


def sync(directory: Path) -> None:
    """Flush a directory's entries to disk, so that renames survive a power failure. Does nothing on Windows."""
    if sys.platform != "win32":
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def free(folder: Path) -> int:
    """Return the free bytes on the disk of a folder, which need not exist yet."""
    folder = folder.absolute()
    return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free


@contextmanager
def writing(path: Path, remedy: str = "") -> Iterator[None]:
    """Convert an :class:`OSError` raised in the block to a one-line :class:`UserError`.

    Args:
        path: file or folder that the block writes.
        remedy: what the user can do, such as ``give another --output``.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {reason(error, remedy)}") from error


def reason(error: OSError, remedy: str = "") -> str:
    """Return why a file cannot be written and what to do: a remedy for this kind of error, ``remedy``, or both."""
    remedies = {
        **FULL,
        errno.EFBIG: "allow larger files (ulimit -f)",
        errno.ENOTDIR: "move the file that has the folder's name",
        errno.EEXIST: "move the file that has the folder's name",
    }
    known = filter(None, (remedies.get(error.errno or 0), remedy))
    return f"{error.strerror or error}; {' or '.join(known) or 'make the folder writable or choose another one'}"


def full(error: OSError) -> bool:
    """Return whether a write found no space."""
    return error.errno in FULL


def _write(files: Mapping[Path, Fill]) -> None:
    paths = list(files)
    for path in paths:
        _require_replaceable(path)
    directory = paths[0].parent
    directory.mkdir(parents=True, exist_ok=True)
    staged: dict[Path, Path] = {}
    with locked(directory) as alone:
        if alone:
            _remove_leftovers(directory, paths)
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


def _require_replaceable(path: Path) -> None:
    """Check that there is nothing of this name, or a file or link: a rename would also replace a FIFO or device.

    Raises:
        OSError: there is something else.
    """
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return  # reported by the write, unless there is nothing
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise no_file(path, mode)


def _put(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def _stage(path: Path, fill: Fill) -> None:
    with path.open("xb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())


def _remove_leftovers(directory: Path, paths: list[Path]) -> None:
    """Remove temporary files of killed writers; only safe while no other process writes to the directory."""
    prefixes = tuple(f".{path.name}." for path in paths)
    for entry in directory.iterdir():
        if entry.name.startswith(prefixes) and entry.name.endswith(".tmp"):
            entry.unlink(missing_ok=True)


@contextmanager
def locked(directory: Path) -> Iterator[bool]:
    """Lock ``directory`` for one writer; the operating system releases the lock even if the writer is killed.

    The lock belongs to this call: to lock the same folder again before it ends, as every write to it does, would wait
    for ever.

    Yields whether the lock was acquired: some network file systems have no locks, and then only the checks when
    reading remain.
    """
    if sys.platform == "win32":
        yield False
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        locked = False
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
            locked = True
        yield locked
    finally:
        os.close(handle)
