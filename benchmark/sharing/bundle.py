"""One run as a folder of few files, and such a folder as a run among the records."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.artifacts.restore import protocol_of, require_weights
from benchmark.common.atomic import write_files, writing
from benchmark.common.errors import UserError
from benchmark.records import Record, content, path_of, read
from benchmark.records.store import SIDECARS, unsealed
from benchmark.sharing import manifest
from benchmark.sharing.card import card
from benchmark.sharing.manifest import AGAIN, CARD, FIELDS, MANIFEST, MOST, RECORD
from benchmark.sharing.structure import hold

Fetch = Callable[[str, int], bytes]
"""Returns the file of that name, or refuses one of more bytes than that."""
ARRAY = 4096
"""Bytes of an image's name and, once, of an array's header, at most."""


def contents(record: Record, source: str) -> dict[str, bytes]:
    """Return the files of a run to share, by name: record, confusions, weights, manifest and card.

    Args:
        record: a finished run's, read from its file.
        source: where it will be had from, a repository or a folder; the card says so.

    Raises:
        UserError: a run without weights; files that are not the record's.
    """
    require_weights(record)
    assert record.path is not None
    files = {FIELDS[field]: content(record, field) for field in FIELDS if getattr(record, field) is not None}
    files[RECORD] = record.path.read_bytes()
    return {CARD: card(record, source).encode(), **files, MANIFEST: manifest.made(record.name, files)}


def read_folder(folder: Path) -> Fetch:
    """Return what fetches from an exported folder; links are not followed."""

    def fetch(name: str, most: int) -> bytes:
        path = folder / name
        try:
            if path.is_symlink() or not path.is_file():
                raise UserError(f"{path}: {'no plain file' if path.is_symlink() else 'missing'}; {AGAIN}")
            if path.stat().st_size > most:
                raise UserError(f"{path}: larger than the {most} bytes that it may have; {AGAIN}")
            return path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None

    return fetch


def unpack(fetch: Fetch, origin: str, root: Path) -> Record:
    """Check a shared run and place it among the records below ``root``; return its record.

    Args:
        fetch: gives its files.
        origin: names the source in messages.
        root: folder of records.

    Raises:
        UserError: anything in it is not as it must be, or another run is recorded in its place; nothing is written.
    """
    listed = manifest.parsed(fetch(MANIFEST, MOST), origin)
    packed = {name: fetch(name, entry.bytes) for name, entry in listed.files.items()}
    for name, entry in listed.files.items():
        manifest.confirm(name, packed[name], entry, origin)
    fields = {field: packed[name] for field, name in FIELDS.items() if name in packed}
    record = _believed(packed[RECORD], fields["confusion"], listed, origin)
    hold(record, {field: data for field, data in fields.items() if field != "confusion"}, origin)
    path = path_of(root, record.protocol, record.backbone, record.method, record.seed)
    if path.exists() and read(path).checksum != record.checksum:
        raise UserError(f"{path}: another run is recorded here; give another --records folder")
    with writing(path):
        write_files(
            {path.with_suffix(SIDECARS[field]): data for field, data in fields.items()} | {path: packed[RECORD]}
        )
    return read(path)


def _believed(packed: bytes, confusion: bytes, listed: manifest.Manifest, origin: str) -> Record:
    """Return the record, once it is whole, agrees with its confusions, and names only what it may."""
    with tempfile.TemporaryDirectory() as folder, _called(folder, origin):
        stage = Path(folder)
        (stage / RECORD).write_bytes(packed)
        record = unsealed(stage / RECORD, Record)
        if record.state != "finished" or record.name != listed.record:
            raise UserError(f"{origin}: {RECORD}: not of the finished run {listed.record!r}; {AGAIN}")
        place = path_of(stage, record.protocol, record.backbone, record.method, record.seed)
        for field, name in FIELDS.items():
            sidecar, entry = getattr(record, field), listed.files.get(name)
            wanted = None if entry is None else (place.with_suffix(SIDECARS[field]).name, entry.sha256)
            if (None if sidecar is None else (sidecar.file, sidecar.sha256)) != wanted:
                raise UserError(f"{origin}: {RECORD}: {field}: not the file in the manifest; {AGAIN}")
        protocol_of(record)
        _refuse_swollen(confusion, record, f"{origin}: {FIELDS['confusion']}")
        write_files({place.with_suffix(SIDECARS["confusion"]): confusion, place: packed})
        return read(place)


def _refuse_swollen(confusion: bytes, record: Record, place: str) -> None:
    """Refuse an archive of other arrays than the record's, or of larger ones than it can have, before it is opened."""
    most, classes = {}, len(record.classes)
    for domain, score in record.scores().items():
        most[f"{domain}/confusion.npy"] = ARRAY + score.images * classes**2 * 4
        most[f"{domain}/ids.npy"] = ARRAY * (1 + score.images)
    try:
        sizes = {entry.filename: entry.file_size for entry in zipfile.ZipFile(io.BytesIO(confusion)).infolist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UserError(f"{place}: no archive of arrays ({error}); {AGAIN}") from None
    if set(sizes) != set(most) or any(sizes[name] > most[name] for name in most):
        raise UserError(f"{place}: holds other or larger arrays than the record's; {AGAIN}")


@contextmanager
def _called(folder: str, origin: str) -> Iterator[None]:
    """Call a file by where it came from, and not by the temporary folder that it is checked in."""
    try:
        yield
    except UserError as error:
        text = str(error).replace(f"{folder}/", "")
        if text.startswith(origin):
            raise
        fault = text.rpartition("; ")[0] or text  # what would mend a file that was made here does not mend this one
        raise UserError(f"{origin}: {fault}; {AGAIN}") from None
