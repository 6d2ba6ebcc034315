"""Pack a run into a folder, and unpack such a folder into the records."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.artifacts.restore import protocol_of, require_weights
from benchmark.common import reading
from benchmark.common.atomic import write_files, writing
from benchmark.common.errors import UserError
from benchmark.common.temporary import temporary_folder
from benchmark.records import Record, content, path_of, read
from benchmark.records.store import SIDECARS, unsealed
from benchmark.sharing import manifest
from benchmark.sharing.card import card
from benchmark.sharing.manifest import AGAIN, CARD, FIELDS, MANIFEST, MOST, RECORD
from benchmark.sharing.structure import check_weights

Fetch = Callable[[str, int], bytes]
"""Returns the content of a file by name; raises :class:`UserError` if it has more than the given number of bytes."""
ARRAY = 4096
"""Maximum size in bytes of an image name, and of an array header."""


def contents(record: Record, source: str) -> dict[str, bytes]:
    """Return the files of a run to share, by name: record, confusion matrices, weights, manifest and card.

    Args:
        record: of a finished run, read from its file.
        source: repository or folder that it will be pulled from, for the card.

    Raises:
        UserError: a run without weights; files that do not match the record.
    """
    require_weights(record)
    assert record.path is not None
    files = {FIELDS[field]: content(record, field) for field in FIELDS if getattr(record, field) is not None}
    files[RECORD] = reading.read_bytes(record.path, reading.TEXT_LIMIT)
    return {CARD: card(record, source).encode(), **files, MANIFEST: manifest.build(record.name, files)}


def read_folder(folder: Path) -> Fetch:
    """Return a function that reads files of an exported folder; it does not follow links."""

    def fetch(name: str, most: int) -> bytes:
        path = folder / name
        try:
            if path.is_symlink():
                raise UserError(f"{path}: must not be a link; {AGAIN}")
            return reading.read_bytes(path, most)
        except FileNotFoundError:
            raise UserError(f"{path}: missing; {AGAIN}") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None

    return fetch


def unpack(fetch: Fetch, origin: str, root: Path, remedy: str = "") -> Record:
    """Check a shared run, write it to the records below ``root`` and return its record.

    Args:
        fetch: returns its files.
        origin: name of the source, for messages.
        root: folder of records.
        remedy: what the user can do if it cannot be written; see :func:`benchmark.common.atomic.writing`.

    Raises:
        UserError: a check failed, there is no space, or ``root`` has another record of this run; nothing is written.
    """
    listed = manifest.parsed(fetch(MANIFEST, MOST), origin)
    packed = {}
    for name, entry in sorted(listed.files.items(), key=lambda item: item[1].bytes):
        packed[name] = fetch(name, entry.bytes)
        manifest.confirm(name, packed[name], entry, origin)  # before the next, which is larger
    fields = {field: packed[name] for field, name in FIELDS.items() if name in packed}
    record = _verified(packed[RECORD], fields["confusion"], listed, origin)
    check_weights(record, {field: data for field, data in fields.items() if field != "confusion"}, origin)
    path = path_of(root, record.protocol, record.backbone, record.method, record.seed)
    if path.exists() and read(path).checksum != record.checksum:
        raise UserError(f"{path}: another record of this run exists; give another --records folder")
    with writing(path, remedy):
        write_files(
            {path.with_suffix(SIDECARS[field]): data for field, data in fields.items()} | {path: packed[RECORD]}
        )
    return read(path)


def _verified(packed: bytes, confusion: bytes, listed: manifest.Manifest, origin: str) -> Record:
    """Return the record after checking its seal, its confusion matrices and the names of its files."""
    with temporary_folder() as stage, _named(stage, origin):
        (stage / RECORD).write_bytes(packed)
        record = unsealed(stage / RECORD, Record)
        if record.state != "finished" or record.name != listed.record:
            raise UserError(f"{origin}: {RECORD}: not the record of a finished run {listed.record!r}; {AGAIN}")
        place = path_of(stage, record.protocol, record.backbone, record.method, record.seed)
        for field, name in FIELDS.items():
            sidecar, entry = getattr(record, field), listed.files.get(name)
            wanted = None if entry is None else (place.with_suffix(SIDECARS[field]).name, entry.sha256)
            if (None if sidecar is None else (sidecar.file, sidecar.sha256)) != wanted:
                raise UserError(f"{origin}: {RECORD}: {field}: does not match the manifest; {AGAIN}")
        protocol_of(record)
        _check_arrays(confusion, record, f"{origin}: {FIELDS['confusion']}")
        write_files({place.with_suffix(SIDECARS["confusion"]): confusion, place: packed})
        return read(place)


def _check_arrays(confusion: bytes, record: Record, place: str) -> None:
    """Check names and sizes of the arrays in an archive before any is loaded."""
    most = {}
    for domain, score in record.scores().items():
        most[f"{domain}/confusion.npy"] = (
            ARRAY + score.images * len(record.classes_of(domain)) * record.predicted(domain) * 4
        )
        most[f"{domain}/ids.npy"] = ARRAY * (1 + score.images)
    try:
        sizes = {entry.filename: entry.file_size for entry in zipfile.ZipFile(io.BytesIO(confusion)).infolist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UserError(f"{place}: not an archive of arrays ({error}); {AGAIN}") from None
    if set(sizes) != set(most) or any(sizes[name] > most[name] for name in most):
        raise UserError(f"{place}: arrays do not match the domains and images of the record; {AGAIN}")


@contextmanager
def _named(folder: Path, origin: str) -> Iterator[None]:
    """Replace the temporary folder in messages by the origin of the files."""
    try:
        yield
    except UserError as error:
        text = str(error).replace(f"{folder}/", "")
        if text.startswith(origin):
            raise
        fault = text.rpartition("; ")[0] or text  # the remedy for a local file does not apply
        raise UserError(f"{origin}: {fault}; {AGAIN}") from None
