"""Hashes of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmark.common.reading import require_regular

BLOCK = 1 << 20


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, read in blocks.

    Raises:
        OSError: it is not a regular file or cannot be read.
    """
    require_regular(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(BLOCK):
            digest.update(part)
    return digest.hexdigest()
