"""Tables as HTML and as CSV with one line per number."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from benchmark.tables.beside import expanded
from benchmark.tables.layout import Cell, Column, Table

FIELDS = (
    "table", "group", "method", "label", "column", "mean", "spread", "n", "mark", "published", "difference",
)  # fmt: skip
STYLE = (
    ":root{color-scheme:light dark}body{font-family:sans-serif}table{border-collapse:collapse;margin:1em 0}"
    "caption{text-align:left}td,th{padding:.2em .6em;text-align:right}th:first-child,tbody th{text-align:left}"
    "thead th,tbody tr:last-child>*{border-bottom:1px solid}"
)


def html(tables: Iterable[Table]) -> str:
    """Return a self-contained page with each table, its caption and its notes."""
    body = "\n".join(map(fragment, tables))
    head = f'<meta charset="utf-8">\n<title>Tables</title>\n<style>{STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en">\n{head}\n{body}</html>\n'


def fragment(table: Table) -> str:
    """Return the HTML of a table and its notes, without a surrounding page."""
    table = expanded(table)
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in ("Method", *(c.head for c in table.columns)))
    lines = ["<table>", f"<caption>{escape(table.caption)}</caption>", f"<thead><tr>{heads}</tr></thead>", "<tbody>"]
    group = ""
    for row in table.rows:
        if row.group != group:
            group = row.group
            lines.append(f'<tr><th colspan="{len(table.columns) + 1}">{escape(group)}</th></tr>')
        cells = "".join(map(_cell, row.cells, table.columns))
        lines.append(f'<tr><th scope="row">{escape(row.label)}</th>{cells}</tr>')
    lines += ["</tbody>", "</table>", *(f"<p>{escape(note)}</p>" for note in table.notes)]
    return "\n".join(lines) + "\n"


def comma_separated(tables: Sequence[Table]) -> str:
    """Return every number of every table, as :func:`numbers` yields them, below one header line (:data:`FIELDS`)."""
    text = io.StringIO()
    sheet = csv.writer(text, lineterminator="\n")
    sheet.writerow(FIELDS)
    sheet.writerows(each.values() for each in numbers(tables))
    return text.getvalue()


def numbers(tables: Iterable[Table]) -> Iterator[dict[str, str | float | int | None]]:
    """Yield every number of every table, unrounded, with the keys :data:`FIELDS`.

    Scores and spreads are in percent, parameters in millions. An empty cell is left out unless it has a published
    figure.
    """
    for table in tables:
        for row in table.rows:
            for cell, column in zip(row.cells, table.columns, strict=True):
                if cell.mean is None and cell.published is None and not cell.text:
                    continue
                mark = "best" if cell.best else "second" if cell.second else ""
                values = [cell.text or cell.mean, cell.spread, cell.n or None, mark, cell.published, cell.difference]
                names = [table.name, row.group, row.method, row.label, column.head]
                yield dict(zip(FIELDS, [*names, *values], strict=True))


def _cell(cell: Cell, column: Column) -> str:
    if cell.text or cell.mean is None:
        return f"<td>{escape(cell.text)}</td>"
    number = f"{cell.mean:.{column.decimals}f}"
    number = f"<strong>{number}</strong>" if cell.best else f"<u>{number}</u>" if cell.second else number
    spread = "" if cell.spread is None else f" <small>± {cell.spread:.{column.decimals}f}</small>"
    count = f' title="n = {cell.n}"' if cell.n else ""
    return f"<td{count}>{number}{spread}{escape(cell.aside)}</td>"
