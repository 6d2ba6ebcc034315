"""Random K: a random 5 %, of the key projections alone."""

from __future__ import annotations

from baselines.random import Random, RandomSettings
from benchmark.method import Group, setting


class RandomKSettings(RandomSettings):
    """Those of ``random``, elsewhere."""

    groups: tuple[Group, ...] = setting(("k",), "paper", "Table 4, Random K")


class RandomK(Random):
    """:class:`baselines.random.Random` among key weights."""

    label = "Random K"
    arm_of = "random"
    Settings = RandomKSettings


METHOD = RandomK
