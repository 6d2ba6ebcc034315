"""Tables as LaTeX floats (booktabs) that fit a page of one or two columns in text of the size of footnotes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmark.tables.beside import expanded
from benchmark.tables.latex_fit import PAGES, Form, fitted
from benchmark.tables.latex_text import escape_latex
from benchmark.tables.layout import Cell, Column, Table
from benchmark.tables.render import printed


def latex(table: Table, columns: int = 1) -> str:
    """Return a float whose first line names the packages it needs; several if the table is longer than a page.

    Nothing is scaled. A table that is too wide is rotated on its page; if that does not suffice, its headings are
    turned, then its spreads left out, and then columns, by their ``spare``. Its notes name what was left out.

    Args:
        table: what to print.
        columns: of the document's pages, 1 or 2.
    """
    form, parts = fitted(expanded(table), PAGES[columns])
    place = ("sidewaystable" if form.sideways else "table") + PAGES[columns].star
    packages = "booktabs,rotating" if form.sideways else "booktabs,graphicx" if form.turned else "booktabs"
    floats = [_float(part, form, place, first=part is parts[0]) for part in parts]
    return "\n".join([rf"% needs \usepackage{{{packages}}}", *floats, ""])


def _float(table: Table, form: Form, place: str, *, first: bool) -> str:
    """Return one part of a table as a float; all have the number of the first."""
    label = re.sub("[^a-z0-9]+", "-", table.name.lower()).strip("-")
    notes = " ".join(escape_latex(note) for note in table.notes)
    return "\n".join(
        [
            rf"\begin{{{place}}}",
            r"  \centering",
            *([] if first else [r"  \addtocounter{table}{-1}"]),
            rf"  \caption{{{escape_latex(table.caption)}}}",
            *([rf"  \label{{tab:{label}}}"] if first else []),
            r"  \par\smallskip\footnotesize",
            r"  \setlength{\tabcolsep}{3pt}",
            rf"  \begin{{tabular}}{{@{{}}l{'r' * len(table.columns)}@{{}}}}",
            r"    \toprule",
            rf"    {' & '.join(['Method', *(_head(column.head, form) for column in table.columns)])} \\",
            r"    \midrule",
            *_rows(table),
            r"    \bottomrule",
            r"  \end{tabular}",
            *([rf"  \par\smallskip\raggedright {notes}\par"] if notes else []),
            rf"\end{{{place}}}",
        ]
    )


def _head(text: str, form: Form) -> str:
    """Return a heading: turned, or one word above the other."""
    if form.turned:
        return rf"\rotatebox{{90}}{{{escape_latex(text)}}}"
    stacked = r" \\ ".join(map(escape_latex, text.split()))
    return rf"\shortstack[r]{{{stacked}}}" if " " in stacked else stacked


def _rows(table: Table) -> Sequence[str]:
    rows: list[str] = []
    for group, row in table.headed():
        if group:
            rows += [r"    \midrule"] if rows else []
            rows.append(
                rf"    \multicolumn{{{len(table.columns) + 1}}}{{@{{}}l}}{{\textit{{{escape_latex(group)}}}}} \\"
            )
        cells = [_cell(cell, column) for cell, column in zip(row.cells, table.columns, strict=True)]
        rows.append("    " + " & ".join([escape_latex(row.label), *cells]) + r" \\")
    return rows


def _cell(cell: Cell, column: Column) -> str:
    return escape_latex(cell.text) or printed(cell, column, r"\textbf{%s}", r"\underline{%s}", r"$\pm$%s")
