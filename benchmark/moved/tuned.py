"""Moved to :mod:`benchmark.artifacts.adapter`."""

from benchmark.artifacts.adapter import apply_tuned
from benchmark.moved import warn

__all__ = ["apply_tuned"]
warn("benchmark.tuned", "benchmark.artifacts.adapter")
