"""Records and protocols by name."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from benchmark import protocol as protocols
from benchmark.protocol import Protocol
from benchmark.records import Record, read_all

Place = str | PathLike[str]
"""A file or folder."""


def read_records(folder: Place = "runs", *, verify: bool = False) -> list[Record]:
    """Return every record below a folder, sorted by path.

    Args:
        folder: of all records, or one of its subfolders.
        verify: compute every score again from the confusion matrices, which takes far longer.

    Raises:
        UserError: no records; one that is unreadable or edited.
    """
    return read_all(Path(folder), verify=verify)


def load_protocol(name: Place) -> Protocol:
    """Return a protocol by name (``streets``, ``streets@quick``), or from a YAML file.

    Raises:
        UserError: no such protocol or variant, or an invalid field.
    """
    return protocols.load(str(name))
