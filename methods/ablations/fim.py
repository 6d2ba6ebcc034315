"""FIM: FisherTune, its weights chosen by the Fisher information F alone (Eq. 4)."""

from __future__ import annotations

from benchmark.method import setting
from methods.fishertune.method import FisherTune
from methods.fishertune.settings import Criterion, FisherTuneSettings


class FIMSettings(FisherTuneSettings):
    """Those of ``fishertune`` but one."""

    criterion: Criterion = setting("f", "paper", "Table 4, F")


class FIM(FisherTune):
    """:class:`methods.fishertune.FisherTune`, its weights chosen by the Fisher information F alone."""

    label = "FIM"
    arm_of = "fishertune"
    Settings = FIMSettings


METHOD = FIM
