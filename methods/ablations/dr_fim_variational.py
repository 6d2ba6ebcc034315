"""DR-FIM, variational: FisherTune, DRF estimated variationally, as printed (Eq. 10-15)."""

from __future__ import annotations

from benchmark.method import setting
from methods.fishertune.method import FisherTune
from methods.fishertune.settings import Estimate, FisherTuneSettings


class DRFIMVariationalSettings(FisherTuneSettings):
    """Those of ``fishertune`` but one."""

    estimator: Estimate = setting("variational", "paper", "Eq. 10-14, fitted by the reparameterisation trick")


class DRFIMVariational(FisherTune):
    """:class:`methods.fishertune.FisherTune`, DRF estimated variationally, as printed."""

    label = "DR-FIM, variational"
    arm_of = "fishertune"
    Settings = DRFIMVariationalSettings


METHOD = DRFIMVariational
