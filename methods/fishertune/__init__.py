"""FisherTune (Zhao et al., CVPR 2025), from its equations; what the paper leaves open is a hyperparameter.

``fishertune`` is the paper's algorithm in full, with the variational estimate. ``fishertune-per-sample``, an ablation,
differs only in the estimator: it averages squared gradients (Eq. 9), which give a stable selection with fewer gradient
evaluations.
"""

from methods.fishertune.method import FisherTune

METHOD = FisherTune

__all__ = ["METHOD", "FisherTune"]
