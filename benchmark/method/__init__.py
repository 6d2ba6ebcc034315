"""What a fine-tuning method is, and the few tools that several methods share.

This package is all of the harness that a method may import.
"""

from benchmark.errors import UserError
from benchmark.method.candidates import GROUPS, Candidate, Group, candidates, matrices
from benchmark.method.interface import Decoding, Estimation, Method, Phase, Settings, setting
from benchmark.method.perturbation import Perturbation, PerturbationSettings, features_at, on_patches, restyle
from benchmark.method.sparse import SparseAdamW, top_k

__all__ = [
    "GROUPS",
    "Candidate",
    "Decoding",
    "Estimation",
    "Group",
    "Method",
    "Perturbation",
    "PerturbationSettings",
    "Phase",
    "Settings",
    "SparseAdamW",
    "UserError",
    "candidates",
    "features_at",
    "matrices",
    "on_patches",
    "restyle",
    "setting",
    "top_k",
]
