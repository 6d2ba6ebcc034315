"""Hashes of the contents of data files, remembered by path, size and time of the last change."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

from benchmark.common import reading
from benchmark.common.errors import UserError
from benchmark.data import location
from benchmark.data.domains import Domain

BYTES = 16
BLOCK = 1 << 20
FILE = "contents.sqlite"
State = tuple[str, int, int]
"""Path, size in bytes, and time of the last change in nanoseconds."""


def contents_hash(domains: Mapping[str, Domain]) -> str:
    """Return a hash of the ids and file contents of every sample, over all domains by name.

    A file is read only if its path, size or time of the last change differs from when it was last read.

    Raises:
        UserError: a file cannot be read.
    """
    files = [path for domain in domains.values() for each in domain.samples for path in (each.image, each.label)]
    found = digests(dict.fromkeys(files))
    whole = hashlib.sha256()
    for name, domain in domains.items():
        whole.update(f"{name}:{domain.dataset}\n".encode())
        for sample in domain.samples:
            whole.update(f"{sample.id} {found[sample.image].hex()} {found[sample.label].hex()}\n".encode())
    return whole.hexdigest()


def digests(files: Iterable[Path]) -> dict[Path, bytes]:
    """Return the digest of each file (BLAKE2b, 128 bits), read or remembered.

    Raises:
        UserError: a file cannot be read.
    """
    states = {path: _state(path) for path in files}
    kept = _kept(list(states.values()))
    unknown = [path for path, state in states.items() if state not in kept]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read = dict(zip(unknown, pool.map(_digest, unknown), strict=True))
    _keep({states[path]: digest for path, digest in read.items()})
    return {path: read[path] if path in read else kept[state] for path, state in states.items()}


def _state(path: Path) -> State:
    try:
        status = reading.require_regular(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    # A copy can keep the modification time of the file that it replaces; on POSIX, no program sets the other one.
    changed = status.st_ctime_ns if os.name == "posix" else status.st_mtime_ns
    return os.path.abspath(path), status.st_size, changed


def _digest(path: Path) -> bytes:
    digest = hashlib.blake2b(digest_size=BYTES)
    try:
        with path.open("rb", buffering=0) as file:
            while part := file.read(BLOCK):
                digest.update(part)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    return digest.digest()


def _open() -> sqlite3.Connection:
    place = location.cache() / FILE
    place.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(place, timeout=10)
    database.execute("CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, size INT, time INT, digest BLOB)")
    return database


def _kept(states: Sequence[State]) -> dict[State, bytes]:
    """Return the remembered digests of these files; without a readable cache none."""
    found: dict[State, bytes] = {}
    with suppress(OSError, sqlite3.Error), closing(_open()) as database:
        for path, size, time in states:
            row = database.execute("SELECT size, time, digest FROM digests WHERE path = ?", (path,)).fetchone()
            if row is not None and row[:2] == (size, time) and isinstance(row[2], bytes) and len(row[2]) == BYTES:
                found[path, size, time] = row[2]
    return found


def _keep(digests: Mapping[State, bytes]) -> None:
    """Remember digests; without a writable cache the files are read again in the next run."""
    with suppress(OSError, sqlite3.Error), closing(_open()) as database, database:
        rows = [(*state, digest) for state, digest in digests.items()]
        database.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)", rows)
