"""FIM, variational: FisherTune, its weights chosen by F alone, estimated variationally (Eq. 10-14)."""

from __future__ import annotations

from benchmark.method import setting
from methods.fishertune.method import FisherTune
from methods.fishertune.settings import Criterion, Estimate, FisherTuneSettings


class FIMVariationalSettings(FisherTuneSettings):
    """Those of ``fishertune`` but two."""

    criterion: Criterion = setting("f", "paper", "Figure 5, FIM")
    estimator: Estimate = setting("variational", "paper", "Eq. 10-14, fitted by the reparameterisation trick")


class FIMVariational(FisherTune):
    """:class:`methods.fishertune.FisherTune`, its weights chosen by F alone, estimated variationally."""

    label = "FIM, variational"
    arm_of = "fishertune"
    Settings = FIMVariationalSettings


METHOD = FIMVariational
