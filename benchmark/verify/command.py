"""``python -m benchmark records verify``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmark.common.errors import UserError
from benchmark.records import Record, paths, read
from benchmark.records.store import SIDECARS, content
from benchmark.verify import counts, single, together
from benchmark.verify.fault import Fault


@dataclass(frozen=True)
class Verdict:
    """What was found: the number of records, how many parameter counts were compared, and a line per fault."""

    records: int
    counted: int
    faults: tuple[str, ...]


def run(folder: Path) -> None:
    """Print one line per fault; a folder without faults prints the number of its records.

    Raises:
        UserError: there is no record.
        SystemExit: code 1 if there is a fault.
    """
    found = verdict(folder)
    for line in found.faults:
        print(line)
    if found.faults:
        print(f"{folder}: {_number(len(found.faults), 'fault')} in {_number(found.records, 'record')}", file=sys.stderr)
        sys.exit(1)
    print(f"{folder}: {_number(found.records, 'record')} without fault, {found.counted} with parameters counted again")


def verdict(folder: Path) -> Verdict:
    """Verify every record below a folder.

    Raises:
        UserError: there is no record.
    """
    places = list(paths(folder))
    if not places:
        raise UserError(f"{folder}: no records here; give the folder with the folders of protocols, such as results")
    faults: list[Fault | str] = [*_strays(folder)]
    sound: list[Record] = []
    for path in places:
        try:
            record = read(path)
        except UserError as error:
            faults.append(str(error))
            continue
        found = [*single.checks(record), *_files(record)]
        faults += found
        if not found:
            sound.append(record)
    counted = 0
    for _, fault in counts.checks(sound):
        counted += 1
        faults += [fault] if fault is not None else []
    faults += together.checks(sound)
    return Verdict(len(places), counted, tuple(map(str, faults)))


def _files(record: Record) -> Iterator[str]:
    """Check the hashes of predictions and weights next to a record; they may be absent, since they are large."""
    assert record.path is not None
    for field in (name for name in SIDECARS if name != "confusion"):
        if getattr(record, field) is not None and record.path.with_name(getattr(record, field).file).is_file():
            try:
                content(record, field)
            except UserError as error:
                yield str(error)


def _strays(folder: Path) -> Iterator[Fault]:
    """Find files that belong to no record."""
    for suffix in SIDECARS.values():
        for path in sorted(folder.rglob(f"seed*{suffix}")):
            owner = re.match(r"seed\d+", path.name)
            if owner and path.name == owner[0] + suffix and not path.with_name(f"{owner[0]}.json").is_file():
                yield Fault(path, "record", f"{owner[0]}.json is missing", "add it, or remove this file")


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
