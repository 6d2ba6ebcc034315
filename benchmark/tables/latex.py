"""Tables as LaTeX floats (booktabs) that fit a page of one or two columns in text of the size of footnotes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from benchmark.common.terminal import fitting
from benchmark.tables.beside import expanded
from benchmark.tables.layout import Cell, Column, Table
from benchmark.tables.render import printed

SIGNS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedblright{}", "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}", "*": "{*}",
    "±": r"$\pm$", "×": r"$\times$", "…": r"\ldots{}", "–": r"\textendash{}", "—": r"\textemdash{}", "ß": r"\ss{}",
    "≠": r"$\neq$", "−": r"$-$", "→": r"$\to$",
}  # fmt: skip
"""Brackets and stars are braced: at the start of a row they would be arguments of the preceding ``\\\\``."""
ACCENTS = "\u0300\u0301\u0302\u0303\u0308\u030a\u0327"
GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu",
    "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega",
    "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega",
}  # fmt: skip
WIDTHS = (("MW@", 8.2), ("mw%&±×→≠—…", 7.2), (" .,:;'|!()[]ijltf-I", 3.4))
"""Widths of characters in ``\\footnotesize`` of a 10-point document, in points, rounded up."""
UPPER, OTHER, BOLD, GAP, LINE = 6.3, 4.7, 1.15, 6.0, 9.5
"""Width of other capital and other characters, factor for bold, space between columns and between lines, in points."""


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


def latex(table: Table, columns: int = 1) -> str:
    """Return a float whose first line names the packages it needs.

    Nothing is scaled. A table that is too wide is rotated on its page; if that does not suffice, its headings are
    turned, then its spreads left out, and then columns, by their ``spare``. Its notes name what was left out.

    Args:
        table: what to print.
        columns: of the document's pages, 1 or 2.
    """
    table, page = expanded(table), PAGES[columns]
    form = _form(table, page)
    table = _reduced(table, form, page)
    place = ("sidewaystable" if form.sideways else "table") + page.star
    packages = "booktabs,rotating" if form.sideways else "booktabs,graphicx" if form.turned else "booktabs"
    notes = " ".join(escape_latex(note) for note in table.notes)
    return "\n".join(
        [
            rf"% needs \usepackage{{{packages}}}",
            rf"\begin{{{place}}}",
            r"  \centering",
            rf"  \caption{{{escape_latex(table.caption)}}}",
            rf"  \label{{tab:{re.sub('[^a-z0-9]+', '-', table.name.lower()).strip('-')}}}",
            r"  \par\smallskip\footnotesize",
            r"  \setlength{\tabcolsep}{3pt}",
            rf"  \begin{{tabular}}{{@{{}}l{'r' * len(table.columns)}@{{}}}}",
            r"    \toprule",
            rf"    {' & '.join(['Method', *(_head(column.head, form) for column in table.columns)])} \\",
            r"    \midrule",
            *_rows(table),
            r"    \bottomrule",
            r"  \end{tabular}",
            rf"  \par\smallskip\raggedright {notes}\par",
            rf"\end{{{place}}}",
            "",
        ]
    )


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
    method, *widths = (int(width) + 1 for width in _widths(table, form))
    room = page.height if form.sideways else page.width
    kept = fitting(widths, [column.spare for column in table.columns], int(room) - method, gap=0)
    left = [column.head for place, column in enumerate(table.columns) if place not in kept]
    had = not form.spreads and any(cell.spread is not None for row in table.rows for cell in row.cells)
    omitted = [*(["standard deviations"] if had else []), *left]
    rows = []
    for row in table.rows:
        rows.append(replace(row, cells=tuple(_kept(row.cells[place], form) for place in kept)))
    notes = (f"Left out to fit the page: {', '.join(omitted)}.",) if omitted else ()
    columns = tuple(table.columns[place] for place in kept)
    return replace(table, columns=columns, rows=tuple(rows), notes=(*notes, *table.notes))


def _widths(table: Table, form: Form) -> list[float]:
    """Return the width of the column of methods and of all others, with the space before them, in points."""
    out = [max(map(_width, ["Method", *(row.label for row in table.rows)]))]
    for place, column in enumerate(table.columns):
        cells = [_kept(row.cells[place], form) for row in table.rows]
        head = LINE if form.turned else max(map(_width, column.head.split() or [""]))
        texts = ((cell, cell.text or printed(cell, column, "%s", "%s", "±%s")) for cell in cells)
        out.append(GAP + max([head, *(_width(text) * (BOLD if cell.best else 1) for cell, text in texts)]))
    return out


def _kept(cell: Cell, form: Form) -> Cell:
    return cell if form.spreads else replace(cell, spread=None)


def _width(text: str) -> float:
    return sum(
        next((width for signs, width in WIDTHS if sign in signs), UPPER if sign.isupper() else OTHER) for sign in text
    )


def _head(text: str, form: Form) -> str:
    """Return a heading: turned, or one word above the other."""
    if form.turned:
        return rf"\rotatebox{{90}}{{{escape_latex(text)}}}"
    stacked = r" \\ ".join(map(escape_latex, text.split()))
    return rf"\shortstack[r]{{{stacked}}}" if " " in stacked else stacked


def _rows(table: Table) -> Sequence[str]:
    rows: list[str] = []
    group = ""
    for row in table.rows:
        if row.group != group:
            group = row.group
            rows += [r"    \midrule"] if rows else []
            rows.append(
                rf"    \multicolumn{{{len(table.columns) + 1}}}{{@{{}}l}}{{\textit{{{escape_latex(group)}}}}} \\"
            )
        cells = [_cell(cell, column) for cell, column in zip(row.cells, table.columns, strict=True)]
        rows.append("    " + " & ".join([escape_latex(row.label), *cells]) + r" \\")
    return rows


def _cell(cell: Cell, column: Column) -> str:
    return escape_latex(cell.text) or printed(cell, column, r"\textbf{%s}", r"\underline{%s}", r"$\pm$%s")


def escape_latex(text: str) -> str:
    """Escape text for LaTeX; characters missing from pdfLaTeX's fonts are printed as their code point."""
    plain = unicodedata.normalize("NFC", " ".join(text.split()))
    escaped = "".join(SIGNS.get(sign) or _sign(sign) for sign in plain)
    return re.sub(r"([-'])(?=\1)", r"\1{}", escaped)  # two in a row would form a ligature


def _sign(sign: str) -> str:
    if " " <= sign <= "~":
        return sign
    name = unicodedata.name(sign, "")
    greek = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", name)
    if greek:
        letter = greek[2].lower().replace("lamda", "lambda")
        letter = letter if greek[1] == "SMALL" else letter.capitalize()
        if letter in GREEK:
            return rf"$\{letter}$"
    parts = unicodedata.normalize("NFD", sign)
    if len(parts) == 2 and parts[0].isascii() and parts[1] in ACCENTS:
        return sign
    return f"{{[}}U+{ord(sign):04X}{{]}}"
