"""How a table fits a page of LaTeX: rotated, without its spreads or some columns, and in parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product

from benchmark.common.terminal import fitting
from benchmark.tables.latex_text import width
from benchmark.tables.layout import Cell, Row, Table
from benchmark.tables.render import printed

BOLD, GAP, LINE, RULE = 1.15, 6.0, 9.5, 5.0
"""Factor for bold text; space between columns, between lines and around a rule, in points."""
CAPTION, SKIPS = 12.0, 45.0
"""Space between the lines of a caption, and what a float takes around its texts and rules, in points."""
LARGER = 1.25
"""Factor for text of a caption, which is larger and ends its lines at words."""


@dataclass(frozen=True)
class Page:
    """The text area that a float may take, in points, and what its environment ends with."""

    width: float
    height: float
    star: str


PAGES = {1: Page(345, 550, ""), 2: Page(496, 641, "*")}
"""By the number of columns: LaTeX's article class; CVPR's page, the smallest of the field (6.875 by 8.875 inches)."""


@dataclass(frozen=True)
class Form:
    """How a table is printed: with spreads, with headings turned, and rotated on the page."""

    spreads: bool
    turned: bool
    sideways: bool


def fitted(table: Table, page: Page) -> tuple[Form, list[Table]]:
    """Return how to print a table, and its parts, one per page.

    The caption of every part but the first says that it continues; the notes are below the last.
    """
    form = _form(table, page)
    return form, _parts(_reduced(table, form, page), form, page)


def _form(table: Table, page: Page) -> Form:
    """Return the first form that fits the page, or else the narrowest."""
    lines = len(table.rows) + len({row.group for row in table.rows})
    may_rotate = lines * LINE <= 0.7 * page.width  # the caption and the notes need space, too
    forms = [
        Form(spreads, turned, sideways)
        for spreads, turned, sideways in product((True, False), (False, True), (False, True))
        if may_rotate or not sideways
    ]
    fit = (form for form in forms if sum(_widths(table, form)) <= (page.height if form.sideways else page.width))
    return next(fit, forms[-1])


def _reduced(table: Table, form: Form, page: Page) -> Table:
    """Return the table without the spreads and columns for which there is no space, and with a note about them."""
    method, *widths = (int(each) + 1 for each in _widths(table, form))
    room = page.height if form.sideways else page.width
    kept = fitting(widths, [column.spare for column in table.columns], int(room) - method, gap=0)
    left = [column.head for place, column in enumerate(table.columns) if place not in kept]
    had = not form.spreads and any(cell.spread is not None for row in table.rows for cell in row.cells)
    omitted = [*(["standard deviations"] if had else []), *left]
    rows = []
    for row in table.rows:
        rows.append(replace(row, cells=tuple(_kept(row.cells[place], form) for place in kept)))
    notes = (f"Left out to fit the page: {', '.join(dict.fromkeys(omitted))}.",) if omitted else ()
    columns = tuple(table.columns[place] for place in kept)
    return replace(table, columns=columns, rows=tuple(rows), notes=(*notes, *table.notes))


def _widths(table: Table, form: Form) -> list[float]:
    """Return the width of the column of methods and of all others, with the space before them, in points."""
    out = [max(map(width, ["Method", *(row.label for row in table.rows)]))]
    for place, column in enumerate(table.columns):
        cells = [_kept(row.cells[place], form) for row in table.rows]
        head = LINE if form.turned else max(map(width, column.head.split() or [""]))
        texts = ((cell, cell.text or printed(cell, column, "%s", "%s", "±%s")) for cell in cells)
        out.append(GAP + max([head, *(width(text) * (BOLD if cell.best else 1) for cell, text in texts)]))
    return out


def _kept(cell: Cell, form: Form) -> Cell:
    return cell if form.spreads else replace(cell, spread=None)


def _parts(table: Table, form: Form, page: Page) -> list[Table]:
    """Divide the rows among pages, between groups where possible."""
    room = page.width if form.sideways else page.height
    around = _around(table, form, page)
    parts: list[list[Row]] = [[]]
    for _, group in groupby(table.rows, key=lambda row: row.group):
        block = list(group)
        if parts[-1] and around + _height([*parts[-1], *block]) > room:
            parts.append([])
        for row in block:
            if parts[-1] and around + _height([*parts[-1], row]) > room:
                parts.append([])
            parts[-1].append(row)
    return [
        replace(
            table,
            caption=table.caption + (" (Continued.)" if place else ""),
            rows=tuple(rows),
            notes=table.notes if place == len(parts) - 1 else (),
        )
        for place, rows in enumerate(parts)
    ]


def _around(table: Table, form: Form, page: Page) -> float:
    """Return the height of a float without its rows, in points."""
    line = page.height if form.sideways else page.width
    caption = math.ceil(LARGER * width(table.caption) / line) * CAPTION
    notes = math.ceil(1.05 * width(" ".join(table.notes)) / line) * LINE
    heads = [column.head for column in table.columns]
    head = max(map(width, heads)) if form.turned else LINE * max(len(each.split()) for each in heads)
    return SKIPS + caption + head + notes


def _height(rows: Sequence[Row]) -> float:
    """Return the height of rows with their groups' headings and rules, in points."""
    groups = {row.group for row in rows}
    return (len(rows) + len(groups - {""})) * LINE + (len(groups) + 2) * RULE
