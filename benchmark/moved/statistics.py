"""Moved to :mod:`benchmark.common.statistics`."""

from benchmark.common.statistics import iou, miou
from benchmark.moved import warn

__all__ = ["iou", "miou"]
warn("benchmark.statistics", "benchmark.common.statistics")
