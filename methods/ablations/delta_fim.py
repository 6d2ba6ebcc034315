"""ΔFIM: FisherTune, its weights chosen by ΔF alone, its change in an unseen domain (Eq. 5)."""

from __future__ import annotations

from benchmark.method import setting
from methods.fishertune.method import FisherTune
from methods.fishertune.settings import Criterion, FisherTuneSettings


class DeltaFIMSettings(FisherTuneSettings):
    """Those of ``fishertune`` but one."""

    criterion: Criterion = setting("delta-f", "paper", "Table 4, ΔF")


class DeltaFIM(FisherTune):
    """:class:`methods.fishertune.FisherTune`, its weights chosen by ΔF alone, its change in an unseen domain."""

    label = "ΔFIM"
    arm_of = "fishertune"
    Settings = DeltaFIMSettings


METHOD = DeltaFIM
