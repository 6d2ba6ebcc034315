"""Tables built from records."""

from benchmark.tables.comparable import as_protocol, check, difference
from benchmark.tables.latex import latex
from benchmark.tables.layout import Cell, Column, Row, Table
from benchmark.tables.main import apart, build, order, shown
from benchmark.tables.render import markdown
from benchmark.tables.sheets import comma_separated, html

__all__ = [
    "Cell",
    "Column",
    "Row",
    "Table",
    "apart",
    "as_protocol",
    "build",
    "check",
    "comma_separated",
    "difference",
    "html",
    "latex",
    "markdown",
    "order",
    "shown",
]
