"""Random Q: a random 5 %, of the query projections alone."""

from __future__ import annotations

from baselines.random import Random, RandomSettings
from benchmark.method import Group, setting


class RandomQSettings(RandomSettings):
    """Those of ``random``, elsewhere."""

    groups: tuple[Group, ...] = setting(("q",), "paper", "Table 4, Random Q")


class RandomQ(Random):
    """:class:`baselines.random.Random` among query weights."""

    label = "Random Q"
    arm_of = "random"
    Settings = RandomQSettings


METHOD = RandomQ
