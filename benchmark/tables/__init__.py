"""Tables made from records alone."""

from benchmark.tables.layout import Cell, Column, Row, Table
from benchmark.tables.main import build
from benchmark.tables.render import latex, markdown

__all__ = ["Cell", "Column", "Row", "Table", "build", "latex", "markdown"]
