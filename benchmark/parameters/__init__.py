"""Trainable parameters of each method on each backbone, counted on the real architectures and as published."""

from benchmark.parameters.papers import Published, published
from benchmark.parameters.table import build

__all__ = ["Published", "build", "published"]
