"""Moved to :mod:`benchmark.artifacts.restore`."""

from benchmark.artifacts.restore import restore
from benchmark.moved import warn

__all__ = ["restore"]
warn("benchmark.restore", "benchmark.artifacts.restore")
