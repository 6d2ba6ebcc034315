"""The manifest of a shared run: its files with sizes and hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.common.errors import UserError
from benchmark.common.reading import ARCHIVE_LIMIT, TEXT_LIMIT

MANIFEST, RECORD, CARD = "manifest.json", "record.json", "README.md"
FIELDS = {
    "confusion": "confusion.npz",
    "delta": "delta.safetensors",
    "tuned": "tuned.safetensors",
    "decoder": "decoder.safetensors",
}
"""File names by the fields of the record. The card is not listed: it may be edited, and no code reads it."""
MOST = 65536
"""Maximum size of a manifest in bytes."""
AGAIN = "refused: fetch it again, or ask its author"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Entry(_Part):
    """One file."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Manifest(_Part):
    """Files of a run by name; ``record`` is the name of the run."""

    format: Literal[1] = 1
    record: str
    files: dict[str, Entry]


def build(record: str, files: Mapping[str, bytes]) -> bytes:
    """Return the manifest of a run's files as JSON."""
    entries = {name: Entry(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)) for name, data in files.items()}
    return (Manifest(record=record, files=entries).model_dump_json(indent=1) + "\n").encode()


def parsed(packed: bytes, origin: str) -> Manifest:
    """Read a manifest.

    Raises:
        UserError: damaged, another format, or unexpected files; the message starts with ``origin``.
    """
    try:
        manifest = Manifest.model_validate_json(packed)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{origin}: {MANIFEST}: {f'{place}: ' if place else ''}{first['msg']}; {AGAIN}") from None
    known = {RECORD, *FIELDS.values()}
    for name, entry in manifest.files.items():
        if name not in known:
            raise UserError(f"{origin}: {MANIFEST}: {json.dumps(name)} is not a file of a run; {AGAIN}")
        most = TEXT_LIMIT if name == RECORD else ARCHIVE_LIMIT
        if entry.bytes > most:
            raise UserError(f"{origin}: {MANIFEST}: {name}: {entry.bytes} bytes, at most {most}; {AGAIN}")
    side = {FIELDS["delta"], FIELDS["tuned"]} & set(manifest.files)
    missing = sorted(known - {FIELDS["delta"], FIELDS["tuned"]} - set(manifest.files))
    if missing or len(side) != 1:
        wrong = f"lacks {missing[0]}" if missing else f"must list one of {FIELDS['delta']} and {FIELDS['tuned']}"
        raise UserError(f"{origin}: {MANIFEST}: {wrong}; {AGAIN}")
    return manifest


def confirm(name: str, packed: bytes, entry: Entry, origin: str) -> None:
    """Check size and hash of a file.

    Raises:
        UserError: they differ from the manifest.
    """
    if len(packed) != entry.bytes:
        raise UserError(f"{origin}: {name}: {len(packed)} bytes, but {entry.bytes} in the manifest; {AGAIN}")
    found = hashlib.sha256(packed).hexdigest()
    if found != entry.sha256:
        raise UserError(f"{origin}: {name}: SHA-256 is {found}, but {entry.sha256} in the manifest; {AGAIN}")
