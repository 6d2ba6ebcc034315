"""FisherTune (Zhao et al., CVPR 2025), from its equations; what the paper leaves open is a hyperparameter."""

from methods.fishertune.method import FisherTune

METHOD = FisherTune

__all__ = ["METHOD", "FisherTune"]
