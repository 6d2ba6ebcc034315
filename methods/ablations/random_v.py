"""Random V: a random 5 %, of the value projections alone."""

from __future__ import annotations

from baselines.random import Random, RandomSettings
from benchmark.method import Group, setting


class RandomVSettings(RandomSettings):
    """Those of ``random``, elsewhere."""

    groups: tuple[Group, ...] = setting(("v",), "paper", "Table 4, Random V")


class RandomV(Random):
    """:class:`baselines.random.Random` among value weights."""

    label = "Random V"
    arm_of = "random"
    Settings = RandomVSettings


METHOD = RandomV
