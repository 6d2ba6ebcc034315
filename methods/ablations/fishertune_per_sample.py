"""FisherTune with squared gradients of single samples (Eq. 9) instead of a fitted posterior (Eq. 10-13)."""

from __future__ import annotations

from benchmark.method import setting
from methods.fishertune.method import FisherTune
from methods.fishertune.settings import Estimate, FisherTuneSettings


class PerSampleSettings(FisherTuneSettings):
    """Those of FisherTune with another estimator."""

    estimator: Estimate = setting("per-sample", "paper", "Eq. 9, with the prior of Eq. 14 in closed form")
    images: int = setting(256, "ours", "T2, unpublished; two estimates of F agree on 90 % of the selection", ge=1)


class FisherTunePerSample(FisherTune):
    """FisherTune whose estimate averages the squared gradients of single samples."""

    label = "FisherTune (per sample)"
    Settings = PerSampleSettings


METHOD = FisherTunePerSample
