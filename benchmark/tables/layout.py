"""A table before it is rendered: numbers and plain text without markup."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        head: its heading.
        decimals: of its numbers.
        spare: which columns a narrow terminal leaves out first: those with the highest number, of equals the last;
            those with 0 never.
    """

    head: str
    decimals: int
    spare: int = 1


@dataclass(frozen=True)
class Cell:
    """A mean over seeds and its spread (sample standard deviation).

    Attributes:
        mean: None leaves the cell empty.
        spread: None for a single seed, or for a number that is the same for every seed.
        best: best of its column, significantly better than every other row.
        second: second of its column, significantly better than every row except the best.
        n: number of runs averaged; 0 if the number does not come from runs.
        published: the published figure; None if there is none or it was not requested.
        text: printed instead of the number.
        aside: printed after the number.
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
        """Measured minus published; None unless both are known."""
        return None if self.mean is None or self.published is None else self.mean - self.published


@dataclass(frozen=True)
class Row:
    """One method: its registered name with the given hyperparameters, its label, and one cell per column.

    Rows of the same ``group`` are printed together under its name.
    """

    method: str
    label: str
    cells: tuple[Cell, ...]
    group: str = ""


@dataclass(frozen=True)
class Table:
    """One row per method: of one protocol and backbone, or in the layout of a paper's table.

    Attributes:
        name: short and unique (``streets/vit-tiny-streets``).
        caption: what the numbers are.
        columns: all columns except the first, which holds the methods.
        rows: in printing order.
        notes: explanations printed below the table, one or two sentences each.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def headed(self) -> Iterator[tuple[str, Row]]:
        """Yield each row with the name of its group if it is the first of it, else with an empty name."""
        before = ""
        for row in self.rows:
            yield ("" if row.group == before else row.group), row
            before = row.group
