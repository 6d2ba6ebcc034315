"""Sortable tables of the page: each cell has a text to show and a value to sort by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.tables import Cell, Column, Table


@dataclass(frozen=True)
class Entry:
    """One cell.

    Attributes:
        text: the text shown.
        value: sort key; None for an empty cell, which is sorted last.
        aside: shown in small print after the text.
        mark: ``best``, ``second`` or empty.
        title: tooltip.
        href: link target, relative to the page.
    """

    text: str = ""
    value: float | str | None = None
    aside: str = ""
    mark: str = ""
    title: str = ""
    href: str = ""


@dataclass(frozen=True)
class Head:
    """A column's heading, and whether the column is numeric."""

    text: str
    number: bool = True


@dataclass(frozen=True)
class Group:
    """Rows that are sorted together, with an optional name; each row's first entry is its heading."""

    name: str
    rows: tuple[tuple[Entry, ...], ...]


@dataclass(frozen=True)
class Sheet:
    """A table of the page."""

    caption: str
    heads: tuple[Head, ...]
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()


def sheet(table: Table) -> Sheet:
    """Return a table for the page; published figures are put into the cells, so that sorting keeps them in place."""
    groups: dict[str, list[tuple[Entry, ...]]] = {}
    for place, row in enumerate(table.rows):
        # Sorting by name restores the order of the table.
        entries = (Entry(row.label, place), *map(_entry, row.cells, table.columns))
        groups.setdefault(row.group, []).append(entries)
    return Sheet(
        table.caption,
        (Head("Method", number=False), *(Head(column.head) for column in table.columns)),
        tuple(Group(name, tuple(rows)) for name, rows in groups.items()),
        table.notes,
    )


def plain(caption: str, heads: Sequence[Head], rows: Sequence[tuple[Entry, ...]], *notes: str) -> Sheet:
    """Return a table without groups."""
    return Sheet(caption, tuple(heads), (Group("", tuple(rows)),), notes)


def number(value: float | None, decimals: int) -> Entry:
    """Return the entry of a number; an empty entry for None."""
    return Entry() if value is None else Entry(f"{value:.{decimals}f}", value)


def _entry(cell: Cell, column: Column) -> Entry:
    asides = [] if cell.spread is None or cell.text else [f"± {cell.spread:.{column.decimals}f}"]
    asides += [cell.aside.strip()] if cell.aside else []
    if cell.published is not None:
        asides.append(f"publ. {cell.published:.{column.decimals}f}")
    if cell.difference is not None:
        rounded = round(cell.difference, column.decimals) or 0.0  # no minus zero
        asides.append(f"Δ {rounded:+.{column.decimals}f}".replace("-", "−"))
    shown = cell.text or ("" if cell.mean is None else f"{cell.mean:.{column.decimals}f}")
    return Entry(
        shown,
        cell.mean,
        " ".join(asides),
        "best" if cell.best else "second" if cell.second else "",
        f"n = {cell.n}" if cell.n else "",
    )
