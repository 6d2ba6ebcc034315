"""Tables of records, as plain data and in every format of ``python -m benchmark table``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from benchmark.api.reading import Place
from benchmark.records import Record, read_all
from benchmark.runs import request
from benchmark.tables import Table, command, sheets

Which = Literal["main", "1", "2", "3", "4", "5", "factors", "agreement"]
Value = str | float | int | None
SPREAD = " ±"
"""Follows the heading of a column in the key of its spread over seeds."""


@dataclass(frozen=True, repr=False)
class Tables:
    """One or several tables of records: in the main comparison, one per protocol and backbone.

    Attributes:
        tables: the tables, with their captions, columns and notes.
    """

    tables: tuple[Table, ...]

    @property
    def rows(self) -> list[dict[str, Value]]:
        """One dict per row: ``table``, ``method``, ``label``, and the mean by column heading; None for an empty cell.

        Scores are in percent and parameters in millions, unrounded. ``COLUMN ±`` has the spread over seeds, in tables
        in which a row of the column has several.
        """
        return [row for table in self.tables for row in _rows(table)]

    @property
    def numbers(self) -> list[dict[str, Value]]:
        """One dict per number, as in the CSV format: also its number of runs, its mark and a published figure."""
        return list(sheets.numbers(self.tables))

    def to_latex(self) -> str:
        """Return the tables in LaTeX (booktabs)."""
        return command.FORMATS["latex"](self.tables)

    def to_markdown(self) -> str:
        """Return the tables in Markdown, with captions and notes."""
        return command.FORMATS["markdown"](self.tables)

    def to_csv(self) -> str:
        """Return :attr:`numbers` as CSV."""
        return command.FORMATS["csv"](self.tables)

    def to_html(self) -> str:
        """Return a page of HTML."""
        return command.FORMATS["html"](self.tables)

    def to_pandas(self) -> Any:
        """Return :attr:`rows` as a ``pandas.DataFrame``.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError("to_pandas() needs pandas: python -m pip install pandas") from None
        return pandas.DataFrame(self.rows)

    def __repr__(self) -> str:
        return f"<Tables: {', '.join(f'{each.name} ({len(each.rows)} rows)' for each in self.tables)}>"

    def __str__(self) -> str:
        return self.to_markdown()

    def _repr_markdown_(self) -> str:
        """Return what notebooks display."""
        return self.to_markdown()


def table(
    records: Iterable[Record] | Place = "runs",
    which: Which = "main",
    *,
    protocol: str | None = None,
    backbone: str | None = None,
    methods: str | Iterable[str] = (),
    published: bool = False,
    scale: Literal["full", "cpu"] = "full",
) -> Tables:
    """Return tables of records.

    Args:
        records: records, or a folder of them.
        which: the main comparison, one of FisherTune's tables by number, or another of the suite's.
        protocol: only this one.
        backbone: only this one.
        methods: rows, as a list or separated by commas; by default neither ablations nor methods with feature
            perturbation.
        published: add published figures.
        scale: of FisherTune's tables: the paper's conditions, or the suite's counterpart at CPU size.

    Raises:
        UserError: no such record, or records that are not comparable.
    """
    found = read_all(Path(records)) if isinstance(records, (str, PathLike)) else list(records)
    names = methods if isinstance(methods, str) else ",".join(methods)
    made = command.select(
        found, which, name=protocol, backbone=backbone, methods=request.parse_methods(names) if names else (),
        published=published, scale=scale,
    )  # fmt: skip
    return Tables(tuple(made))


def _rows(table: Table) -> Iterable[dict[str, Value]]:
    several = [any(row.cells[place].spread is not None for row in table.rows) for place in range(len(table.columns))]
    for row in table.rows:
        values: dict[str, Value] = {"table": table.name, "method": row.method, "label": row.label}
        for cell, column, spread in zip(row.cells, table.columns, several, strict=True):
            values[column.head] = cell.text or cell.mean
            if spread:
                values[column.head + SPREAD] = cell.spread
        yield values
