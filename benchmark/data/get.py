"""Download openly available data sets to the data root: pinned, checked, and resumed after an interruption."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path, PurePosixPath

import yaml
from pydantic import BaseModel, ConfigDict, PositiveInt

from benchmark.common.atomic import locked, writing
from benchmark.common.errors import UserError
from benchmark.common.hashing import BLOCK, sha256_of
from benchmark.common.reading import present, require_regular

LISTED = Path(__file__).with_name("downloads.yaml")
UNFINISHED = ".download"
"""Folder in the data root for archives that are not complete or not unpacked yet."""
SECONDS = 60
"""Longest wait for the next bytes of a download."""
Report = Callable[[int, int | None], None]
"""Gets the number of bytes downloaded so far and in all (None if the server does not say)."""


class Download(BaseModel):
    """One data set's entry in ``downloads.yaml``, which explains the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    archive: str
    folder: str
    parts: tuple[str, ...]
    files: PositiveInt
    bytes: PositiveInt
    sha256: str
    licence: str


def listed(path: Path = LISTED) -> dict[str, Download]:
    """Return the data sets that can be downloaded, by name."""
    return {name: Download(**fields) for name, fields in yaml.safe_load(path.read_text(encoding="utf-8")).items()}


def get(name: str, download: Download, root: Path, report: Report = lambda done, total: None) -> Path:
    """Download a data set to ``root / name``, unless that exists; return that folder.

    An archive that an earlier attempt left incomplete is continued if the server can. The folder appears whole or not
    at all, and the archive is deleted afterwards. A second process waits for the first.

    Raises:
        UserError: the server does not respond, the archive is incomplete or has other contents than the pinned ones, or
            there is no space. The message says what to do.
    """
    place, staging = root / name, root / UNFINISHED
    archive, unpacked = staging / f"{name}.tar.gz", staging / name
    with writing(staging):
        staging.mkdir(parents=True, exist_ok=True)
        with locked(staging):
            if not os.path.lexists(place):
                _fetch(download.archive, archive, report)
                shutil.rmtree(unpacked, ignore_errors=True)
                _unpack(archive, download, unpacked)
                _compare(archive, download, unpacked)
                unpacked.rename(place)
                archive.unlink()
            with suppress(OSError):  # it is kept while it contains other downloads
                staging.rmdir()
    return place


def _fetch(url: str, path: Path, report: Report) -> None:
    """Append what is missing of ``url`` to the file ``path``."""
    have = require_regular(path).st_size if present(path) else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            have = have if answer.status == 206 else 0
            length = answer.headers.get("Content-Length")
            total = None if length is None else have + int(length)
            with path.open("r+b" if have else "wb") as file:
                file.seek(have)
                while block := answer.read(BLOCK):
                    file.write(block)
                    report(file.tell(), total)
                done = file.tell()
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is missing
            return
        raise UserError(f"{url}: {error.code} {error.reason}; see the data set's home page") from error
    except (HTTPException, urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise UserError(f"{url}: no response, or interrupted ({error}); run the command again to continue") from error
    if total is not None and done < total:
        raise UserError(f"{url}: interrupted after {done} of {total} bytes; run the command again to continue")


def _unpack(archive: Path, download: Download, folder: Path) -> None:
    """Write the archive's regular files below ``download.folder`` that belong to ``download.parts`` to ``folder``."""
    try:
        with tarfile.open(archive, "r:gz") as members:
            for member in members:
                path = PurePosixPath(member.name)
                if not member.isfile() or download.folder not in map(str, path.parents):
                    continue
                inner = path.relative_to(download.folder)
                content = members.extractfile(member)
                if content is None or ".." in inner.parts or inner.parts[0] not in download.parts:
                    continue
                (folder / inner).parent.mkdir(parents=True, exist_ok=True)
                with (folder / inner).open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise _bad(archive, download, f"not a complete .tar.gz archive ({error})") from error


def _compare(archive: Path, download: Download, folder: Path) -> None:
    """Check that ``folder`` has the pinned contents; delete folder and archive if not."""
    found = digest(folder) if folder.is_dir() else "of no file"
    if found != download.sha256:
        shutil.rmtree(folder, ignore_errors=True)
        raise _bad(archive, download, f"its contents are not the pinned ones (SHA-256 {found})")


def _bad(archive: Path, download: Download, fault: str) -> UserError:
    """Delete the archive and return the error that names its fault."""
    archive.unlink(missing_ok=True)
    return UserError(f"{download.archive}: {fault}; nothing was kept: run the command again")


def digest(folder: Path) -> str:
    """Return the SHA-256 over the paths and contents of all files in ``folder``; see ``downloads.yaml``."""
    files = (path for path in folder.rglob("*") if path.is_file())
    lines = (f"{path.relative_to(folder).as_posix()} {sha256_of(path)}\n" for path in files)
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
