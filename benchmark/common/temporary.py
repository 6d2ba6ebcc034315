"""Temporary folders, in the system's folder for them (``TMPDIR``)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.common.atomic import full, reason
from benchmark.common.errors import UserError

REMEDY = "set TMPDIR to a folder on another disk"


@contextmanager
def temporary_folder(prefix: str = "dgss-") -> Iterator[Path]:
    """Create a folder and remove it after the block.

    Raises:
        UserError: it cannot be created, or a write within the block finds no space.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix=prefix)
    except OSError as error:
        raise UserError(f"no temporary folder can be created: {reason(error, REMEDY)}") from error
    with made as folder:
        try:
            yield Path(folder)
        except OSError as error:
            if not full(error):
                raise
            raise UserError(f"{tempfile.gettempdir()}: cannot be written: {reason(error, REMEDY)}") from error
