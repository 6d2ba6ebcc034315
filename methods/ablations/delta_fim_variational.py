"""ΔFIM, variational: FisherTune, its weights chosen by ΔF alone, estimated variationally (Eq. 5, 10-14)."""

from __future__ import annotations

from benchmark.method import setting
from methods.fishertune.method import FisherTune
from methods.fishertune.settings import Criterion, Estimate, FisherTuneSettings


class DeltaFIMVariationalSettings(FisherTuneSettings):
    """Those of ``fishertune`` but two."""

    criterion: Criterion = setting("delta-f", "paper", "Table 4, ΔF")
    estimator: Estimate = setting("variational", "paper", "Eq. 10-14, fitted by the reparameterisation trick")


class DeltaFIMVariational(FisherTune):
    """:class:`methods.fishertune.FisherTune`, its weights chosen by ΔF alone, estimated variationally."""

    label = "ΔFIM, variational"
    arm_of = "fishertune"
    Settings = DeltaFIMVariationalSettings


METHOD = DeltaFIMVariational
