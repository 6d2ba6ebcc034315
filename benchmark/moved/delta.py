"""Moved to :mod:`benchmark.artifacts.delta`."""

from benchmark.artifacts.delta import apply_delta, load_decoder
from benchmark.moved import warn

__all__ = ["apply_delta", "load_decoder"]
warn("benchmark.delta", "benchmark.artifacts.delta")
