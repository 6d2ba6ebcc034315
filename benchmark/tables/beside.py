"""Published figures next to the measured ones, with the difference."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from benchmark.tables.layout import Cell, Column, Row, Table

WIDE = 6
"""With published figures in more columns than this, they go below each row instead of into columns."""

SPARE = 9
"""Where there is no space for all columns, differences are left out first."""


@dataclass(frozen=True)
class Figure:
    """A published number, its source (``FisherTune, Table 1``) and the errata or notes that apply to it."""

    value: float
    source: str
    errata: tuple[str, ...] = ()


Lookup = Callable[[str, str, str, str], "Figure | None"]
"""Maps protocol, backbone, method and quantity (a domain, ``average`` or ``trained``) to the published figure."""


def nothing(protocol: str, backbone: str, method: str, scored: str) -> Figure | None:
    """Return None: the look-up of a table without published figures."""
    return None


def expanded(table: Table) -> Table:
    """Return the table with published figures and differences in columns, or rows, of their own.

    Without a single run, only the columns of published figures are left.
    """
    filled = [place for place, _ in enumerate(table.columns) if _any(row.cells[place] for row in table.rows)]
    if not filled:
        return table
    if not any(cell.n for row in table.rows for cell in row.cells):
        return _alone(table, filled)
    return _below(table) if len(filled) > WIDE else _aside(table, set(filled))


def _any(cells: Iterable[Cell]) -> bool:
    return any(cell.published is not None for cell in cells)


def _alone(table: Table, filled: list[int]) -> Table:
    rows = (replace(row, cells=tuple(Cell(row.cells[place].published) for place in filled)) for row in table.rows)
    return replace(table, columns=tuple(table.columns[place] for place in filled), rows=tuple(rows))


def _aside(table: Table, filled: set[int]) -> Table:
    columns: list[Column] = []
    for place, column in enumerate(table.columns):
        columns.append(column)
        if place in filled:
            columns += [replace(column, head="publ."), replace(column, head="Δ", spare=SPARE)]
    rows = []
    for row in table.rows:
        cells: list[Cell] = []
        for place, cell in enumerate(row.cells):
            cells.append(replace(cell, published=None))
            if place in filled:
                cells += [Cell(cell.published), _difference(cell, table.columns[place])]
        rows.append(replace(row, cells=tuple(cells)))
    return replace(table, columns=tuple(columns), rows=tuple(rows))


def _below(table: Table) -> Table:
    rows: list[Row] = []
    for row in table.rows:
        rows.append(replace(row, cells=tuple(replace(cell, published=None) for cell in row.cells)))
        if _any(row.cells):
            differences = tuple(map(_difference, row.cells, table.columns))
            rows.append(replace(row, label="– published", cells=tuple(Cell(cell.published) for cell in row.cells)))
            if any(cell.text for cell in differences):
                rows.append(replace(row, label="– difference", cells=differences))
    return replace(table, rows=tuple(rows))


def _difference(cell: Cell, column: Column) -> Cell:
    if cell.difference is None:
        return Cell()
    rounded = round(cell.difference, column.decimals) or 0.0  # no minus zero
    return Cell(text=f"{rounded:+.{column.decimals}f}".replace("-", "−") if rounded else f"{0:.{column.decimals}f}")
