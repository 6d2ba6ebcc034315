"""What a fine-tuning method is, and the few tools that several methods share.

This package is all of the harness that a method may import.
"""

from benchmark.errors import UserError
from benchmark.method.interface import Estimation, Method, Phase, Settings, setting
from benchmark.method.sparse import SparseAdamW, top_k

__all__ = [
    "Estimation",
    "Method",
    "Phase",
    "Settings",
    "SparseAdamW",
    "UserError",
    "setting",
    "top_k",
]
