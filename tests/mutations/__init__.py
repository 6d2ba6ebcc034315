"""Small mutations of the code, and whether the micro-cases of ``check`` find them.

``python -m tests.mutations`` applies each mutation of ``table.yaml`` to a temporary copy of the packages and writes
``results/check/mutations.yaml`` and the table ``results/check/README.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("table.yaml")


@dataclass(frozen=True)
class Mutation:
    """A replacement of text in one file.

    Attributes:
        file: path from the root.
        old: text that occurs exactly once in the file.
        new: text in its place.
        reason: why no case finds it, for one that none finds.
    """

    file: str
    old: str
    new: str
    reason: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies it in results."""
        return self.file, self.old, self.new

    def applied(self, text: str) -> str:
        """Return the text of the file with the mutation.

        Raises:
            ValueError: the old text does not occur exactly once, or equals the new one.
        """
        if text.count(self.old) != 1 or self.old == self.new:
            raise ValueError(f"{self.file}: {self.old!r} occurs {text.count(self.old)} times")
        return text.replace(self.old, self.new)


def table() -> list[Mutation]:
    """Return all mutations, by file."""
    rows = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return [Mutation(file, *each) for file, changes in rows.items() for each in changes]
