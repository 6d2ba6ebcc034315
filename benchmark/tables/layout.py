"""What a table is before it is printed: plain numbers and plain text, in no markup."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A heading, and how many decimals the numbers below it have."""

    head: str
    decimals: int


@dataclass(frozen=True)
class Cell:
    """A mean over seeds and its spread (sample standard deviation); either is None where it is not known.

    Attributes:
        mean: None leaves the cell empty.
        spread: None for a single seed, or for a number that no seed moves.
        best: best of its column, and separated from every other row.
        second: second of its column, and separated from every row but the best.
        n: how many runs the mean is over; 0 where it is of none, or of no run in particular.
        published: what a paper prints for the same; None where none does, or it was not asked for.
        text: printed instead of a number.
        aside: printed behind the number.
    """

    mean: float | None = None
    spread: float | None = None
    best: bool = False
    second: bool = False
    n: int = 0
    published: float | None = None
    text: str = ""
    aside: str = ""

    @classmethod
    def over(cls, values: Sequence[float], scale: float = 1.0) -> Cell:
        """Return the cell of one value per seed, each multiplied by ``scale``."""
        if not values:
            return cls()
        scaled = [value * scale for value in values]
        return cls(statistics.fmean(scaled), statistics.stdev(scaled) if len(scaled) > 1 else None, n=len(scaled))

    @property
    def difference(self) -> float | None:
        """What is measured less what is published; None unless both are there."""
        return None if self.mean is None or self.published is None else self.mean - self.published


@dataclass(frozen=True)
class Row:
    """One method: its registered name with given settings, its label, and a cell per column.

    Rows of one ``group`` stand together below its name.
    """

    method: str
    label: str
    cells: tuple[Cell, ...]
    group: str = ""


@dataclass(frozen=True)
class Table:
    """Methods by columns: of one protocol and backbone, or one of a paper's.

    Attributes:
        name: short and unique (``streets/vit-tiny-streets``).
        caption: what the numbers are.
        columns: all but the first, which holds the methods.
        rows: in order of printing.
        notes: what has to be known to read the numbers, a sentence or two each.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
