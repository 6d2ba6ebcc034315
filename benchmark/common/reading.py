"""Read files that others may have placed: only regular files, and none larger than expected.

Opening a FIFO waits for ever, a device may have no end, and a sparse file may have any size. Each function
checks before it reads and raises :class:`OSError`, as for a file that is missing, with the reason as ``strerror``.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
TEXT_LIMIT = 64 << 20
"""Bytes of a record, list, manifest or configuration file; the largest of this project has 0.4 MB."""
ARCHIVE_LIMIT = 4 << 30
"""Bytes of a file of arrays or delta weights beside a record."""


def present(path: Path) -> bool:
    """Return whether there is anything of this name, even a link to nothing: what exists must be readable."""
    return os.path.lexists(path)


def require_regular(path: Path, limit: int | None = None) -> os.stat_result:
    """Return the status of a regular file, or of a link to one, without opening it.

    Args:
        path: the file.
        limit: the most bytes it may have; None for any size.

    Raises:
        FileNotFoundError: there is nothing of this name.
        OSError: it is not a regular file, a link leads nowhere or in a circle, or it is larger than ``limit``.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            raise OSError(errno.EINVAL, f"a link to {os.readlink(path)}, which does not exist", str(path)) from None
        raise
    if not stat.S_ISREG(status.st_mode):
        raise no_file(path, status.st_mode)
    if limit is not None and status.st_size > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(path))
    return status


def no_file(path: Path, mode: int) -> OSError:
    """Return the error for a path that is no file but what ``mode`` says."""
    return OSError(errno.EINVAL, f"{KINDS.get(stat.S_IFMT(mode), 'a special file')}, not a file", str(path))


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """Return the content of a regular file; see :func:`require_regular`.

    The file is checked again once it is open, so one that is exchanged in between is refused, too; opening does not
    wait for a writer.

    Raises:
        OSError: as :func:`require_regular`, or the file cannot be read.
    """
    require_regular(path, limit)
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a file", str(path))
        return file.read()  # not read(limit), which would allocate that many bytes


def read_text(path: Path, limit: int = TEXT_LIMIT) -> str:
    """Return the text of a regular file in UTF-8, with line ends as ``\\n``.

    Raises:
        OSError: as :func:`read_bytes`.
        UnicodeDecodeError: it is not UTF-8.
    """
    return read_bytes(path, limit).decode("utf-8").replace("\r\n", "\n")
