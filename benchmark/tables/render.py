"""Tables as markdown, and how numbers are printed."""

from __future__ import annotations

import re
from collections.abc import Callable

from tabulate import tabulate

from benchmark.tables.beside import expanded
from benchmark.tables.layout import Cell, Column, Table


def markdown(table: Table) -> str:
    """Return a GitHub table with its caption above and its notes below, one per line."""
    table = expanded(table)
    heads = ["Method", *(escape_markdown(column.head) for column in table.columns)]
    rows: list[list[str]] = []
    for group, row in table.headed():
        if group:
            rows.append([f"**{escape_markdown(group)}**", *("" for _ in table.columns)])
        rows.append([escape_markdown(row.label), *map(_markdown_cell, row.cells, table.columns)])
    align = ("left", *("right" for _ in table.columns))
    grid = tabulate(rows, heads, tablefmt="pipe", colalign=align, disable_numparse=True)
    notes = "\n".join(escape_markdown(note) for note in table.notes)
    return f"{escape_markdown(table.caption)}\n\n{grid}\n\n{notes}\n"


def escape_markdown(text: str) -> str:
    """Escape text for markdown, inside and outside tables."""
    return re.sub(r"([\\`*_{}\[\]<>|~#&])", r"\\\1", " ".join(text.split()))


def printed(cell: Cell, column: Column, best: str, second: str, spread: str) -> str:
    """Return a cell's number and spread in the given formats, each of which takes one number."""
    if cell.mean is None:
        return ""
    number: Callable[[float], str] = f"{{:.{column.decimals}f}}".format
    mean = number(cell.mean)
    mean = best % mean if cell.best else second % mean if cell.second else mean
    return mean + ("" if cell.spread is None else spread % number(cell.spread)) + cell.aside


def _markdown_cell(cell: Cell, column: Column) -> str:
    return escape_markdown(cell.text) or printed(cell, column, "**%s**", "*%s*", " ± %s")
