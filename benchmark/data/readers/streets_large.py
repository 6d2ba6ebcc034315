"""Some of the rendered streets at twice the size, 512x256; the layout is that of :mod:`.streets`."""

from __future__ import annotations

from benchmark.data import streets

from .streets import Streets


class StreetsLarge(Streets):
    """Reader of the large rendered streets."""

    name = "streets-large"
    splits = tuple(f"{part.look}/{part.name}" for part in streets.parts("streets-large"))


READER = StreetsLarge()
