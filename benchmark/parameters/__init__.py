"""What each method trains on each backbone, counted on the real architectures, beside what papers print."""

from benchmark.parameters.papers import Published, published
from benchmark.parameters.table import build

__all__ = ["Published", "build", "published"]
