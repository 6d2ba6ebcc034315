"""Tables as LaTeX (booktabs) and as markdown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from tabulate import tabulate

from benchmark.tables.beside import expanded
from benchmark.tables.layout import Cell, Column, Table

LATEX = {
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


SIDEWAYS = 14
"""Tables with more columns than this are rotated unless they are long: upright they would be too small to read."""


def latex(table: Table) -> str:
    """Return a ``table`` float that fits the page width, rotated if wide; its first line names the packages."""
    table = expanded(table)
    lines = len(table.rows) + len({row.group for row in table.rows})
    wide = len(table.columns) > SIDEWAYS and lines <= 2 * len(table.columns)
    place, packages = ("sidewaystable", "booktabs,graphicx,rotating") if wide else ("table", "booktabs,graphicx")
    heads = " & ".join(["Method", *(escape_latex(column.head) for column in table.columns)])
    rows: list[str] = []
    group = ""
    for row in table.rows:
        if row.group != group:
            group = row.group
            rows += [r"    \midrule"] if rows else []
            rows.append(
                rf"    \multicolumn{{{len(table.columns) + 1}}}{{@{{}}l}}{{\textit{{{escape_latex(group)}}}}} \\"
            )
        cells = [_latex_cell(cell, column) for cell, column in zip(row.cells, table.columns, strict=True)]
        rows.append("    " + " & ".join([escape_latex(row.label), *cells]) + r" \\")
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
            r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"  \begin{{tabular}}{{@{{}}l{'r' * len(table.columns)}@{{}}}}",
            r"    \toprule",
            rf"    {heads} \\",
            r"    \midrule",
            *rows,
            r"    \bottomrule",
            r"  \end{tabular}}",
            rf"  \par\smallskip\raggedright\scriptsize {notes}\par",
            rf"\end{{{place}}}",
            "",
        ]
    )


def markdown(table: Table) -> str:
    """Return a GitHub table with its caption above and its notes below, one per line."""
    table = expanded(table)
    heads = ["Method", *(escape_markdown(column.head) for column in table.columns)]
    rows: list[list[str]] = []
    group = ""
    for row in table.rows:
        if row.group != group:
            group = row.group
            rows.append([f"**{escape_markdown(group)}**", *("" for _ in table.columns)])
        rows.append([escape_markdown(row.label), *map(_markdown_cell, row.cells, table.columns)])
    align = ("left", *("right" for _ in table.columns))
    grid = tabulate(rows, heads, tablefmt="pipe", colalign=align, disable_numparse=True)
    notes = "\n".join(escape_markdown(note) for note in table.notes)
    return f"{escape_markdown(table.caption)}\n\n{grid}\n\n{notes}\n"


def escape_latex(text: str) -> str:
    """Escape text for LaTeX; characters missing from pdfLaTeX's fonts are printed as their code point."""
    plain = unicodedata.normalize("NFC", " ".join(text.split()))
    escaped = "".join(LATEX.get(sign) or _latex_sign(sign) for sign in plain)
    return re.sub(r"([-'])(?=\1)", r"\1{}", escaped)  # two in a row would form a ligature


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


def _latex_sign(sign: str) -> str:
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


def _latex_cell(cell: Cell, column: Column) -> str:
    return escape_latex(cell.text) or printed(cell, column, r"\textbf{%s}", r"\underline{%s}", r"{\scriptsize$\pm$%s}")


def _markdown_cell(cell: Cell, column: Column) -> str:
    return escape_markdown(cell.text) or printed(cell, column, "**%s**", "*%s*", " ± %s")
