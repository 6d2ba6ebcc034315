"""The interface of fine-tuning methods and the tools they share.

Methods import nothing else from the benchmark.
"""

from benchmark.common.errors import UserError
from benchmark.common.microbatch import WHOLE, MicroBatch
from benchmark.method.candidates import GROUPS, Candidate, Group, candidates, matrices
from benchmark.method.interface import Budget, Decoding, EstimationBatch, Method, Phase, Settings, setting
from benchmark.method.perturbation import (
    CORRECTIONS,
    Deviations,
    Perturbation,
    PerturbationSettings,
    features_at,
    on_patches,
    restyle,
)
from benchmark.method.processes import averaged, gathered, processes, summed
from benchmark.method.sparse import SparseAdamW, top_k, top_k_masks
from benchmark.method.timetable import EstimateSettings, phases_with_estimate

__all__ = [
    "CORRECTIONS",
    "GROUPS",
    "WHOLE",
    "Budget",
    "Candidate",
    "Decoding",
    "Deviations",
    "EstimateSettings",
    "EstimationBatch",
    "Group",
    "Method",
    "MicroBatch",
    "Perturbation",
    "PerturbationSettings",
    "Phase",
    "Settings",
    "SparseAdamW",
    "UserError",
    "averaged",
    "candidates",
    "features_at",
    "gathered",
    "matrices",
    "on_patches",
    "phases_with_estimate",
    "processes",
    "restyle",
    "setting",
    "summed",
    "top_k",
    "top_k_masks",
]
