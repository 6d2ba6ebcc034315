"""A table as text that fits a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.common.terminal import BOLD, GAP, MORE, PLAIN, UNDERLINED, aligned, fitting, length, width, wrapped
from benchmark.tables.beside import expanded
from benchmark.tables.layout import Cell, Column, Table
from benchmark.tables.render import markdown, printed


def show(tables: Sequence[Table], more: str = MORE) -> None:
    """Print tables: fitted to the terminal, or complete and as markdown if the output is piped or written to a file.

    Args:
        tables: what to print.
        more: how to see the columns that do not fit, for the note about them.
    """
    room = width()
    for table in tables:
        print(markdown(table) if room is None else text(table, room, more))


def text(table: Table, room: int, more: str = MORE) -> str:
    """Return a table in lines of at most ``room`` characters.

    Columns that do not fit are left out by their ``spare``, and named below the table. Where the first column alone
    takes more than half of the room, it is printed above the others instead. No cell is wrapped or cut.
    """
    table = expanded(table)
    labels = [row.label for row in table.rows]
    grid = [[column.head for column in table.columns]]
    grid += [[_cell(*pair) for pair in zip(row.cells, table.columns, strict=True)] for row in table.rows]
    widths = [max(map(length, column)) for column in zip(*grid, strict=True)]
    first = max(map(length, ["Method", *labels]))
    folded = first > room // 2 and first + sum(widths) + GAP * len(widths) > room
    taken = GAP if folded else first + GAP
    kept = fitting(widths, [column.spare for column in table.columns], room - taken)
    heads = ["" if folded else "Method", *("" if folded else label for label in labels)]
    rows = [[head, *(row[place] for place in kept)] for head, row in zip(heads, grid, strict=True)]
    head, *lines = aligned(rows, [False] + [True] * len(kept))
    out = [wrapped(table.caption, room), "", head, "─" * min(room, max(map(length, [head, *lines])))]
    for (group, row), line in zip(table.headed(), lines, strict=True):
        if group:
            out.append(f"{BOLD}{group}{PLAIN}")
        out += [row.label, line] if folded else [line]
    left = [column.head for place, column in enumerate(table.columns) if place not in kept]
    notes = [f"Left out to fit {room} characters: {', '.join(left)}; {more}."] if left else []
    return "\n".join([*out, "", *(wrapped(note, room, "  ") for note in [*notes, *table.notes]), ""])


def _cell(cell: Cell, column: Column) -> str:
    return cell.text or printed(cell, column, f"{BOLD}%s{PLAIN}", f"{UNDERLINED}%s{PLAIN}", " ± %s")
