"""A fault of a record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.common.errors import printable
from benchmark.records import Record

AGAIN = "run it again with --force, or remove the record"


@dataclass(frozen=True)
class Fault:
    """One fault: the file, the field, what is wrong with it and how to mend it."""

    path: Path
    field: str
    what: str
    fix: str = AGAIN

    @classmethod
    def of(cls, record: Record, field: str, what: str, fix: str = AGAIN) -> Fault:
        """Return a fault of a record that was read from a file."""
        assert record.path is not None
        return cls(record.path, field, what, fix)

    def __str__(self) -> str:
        return printable(f"{self.path}: {self.field}: {self.what}; {self.fix}")
