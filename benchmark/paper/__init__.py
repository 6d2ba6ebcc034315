"""FisherTune's own tables, made from records, and the figures that papers print."""

from benchmark.paper.published import find, layout
from benchmark.paper.tables import build

__all__ = ["build", "find", "layout"]
