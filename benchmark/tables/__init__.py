"""Tables made from records alone."""

from benchmark.tables.comparable import check
from benchmark.tables.layout import Cell, Column, Row, Table
from benchmark.tables.main import build, order
from benchmark.tables.render import latex, markdown

__all__ = ["Cell", "Column", "Row", "Table", "build", "check", "latex", "markdown", "order"]
