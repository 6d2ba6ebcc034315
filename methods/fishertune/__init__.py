"""FisherTune (Zhao et al., CVPR 2025), to its equations; gaps of the paper are settings."""

from methods.fishertune.method import FisherTune

METHOD = FisherTune

__all__ = ["METHOD", "FisherTune"]
