"""What a fine-tuning method is, and the few tools that several methods share.

This package is all of the harness that a method may import.
"""

from benchmark.errors import UserError
from benchmark.method.candidates import GROUPS, Candidate, Group, candidates, matrices
from benchmark.method.interface import Decoding, Estimation, Method, Phase, Settings, setting
from benchmark.method.sparse import SparseAdamW, top_k

__all__ = [
    "GROUPS",
    "Candidate",
    "Decoding",
    "Estimation",
    "Group",
    "Method",
    "Phase",
    "Settings",
    "SparseAdamW",
    "UserError",
    "candidates",
    "matrices",
    "setting",
    "top_k",
]
