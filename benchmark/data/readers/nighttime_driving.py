"""Nighttime Driving (Dai and Van Gool, ITSC 2018): fifty coarsely labelled frames of streets at night.

Tree: ``leftImg8bit/test/night/<frame>_leftImg8bit.png`` and
``gtCoarse_daytime_trainvaltest/test/night/<frame>_gtCoarse_labelTrainIds.png`` (or ``_gtCoarse_labelIds.png``), in a
folder ``NighttimeDrivingTest/``, which may or may not be the root itself.
"""

from __future__ import annotations

from pathlib import Path

from benchmark.data.labels import LabelTable, cityscapes_table
from benchmark.data.samples import Listing, Reader, cityscapes_labels, files, first_folder, known_split


class NighttimeDriving(Reader):
    """Reader of Nighttime Driving, which is for testing only."""

    name = "nighttime-driving"
    home = "Nighttime Driving, data.vision.ee.ethz.ch/daid/NighttimeDriving (NighttimeDrivingTest.zip)"
    splits = ("test",)

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``."""
        known_split(split, self)
        tops = (root / "NighttimeDrivingTest", root)
        images = first_folder((top / "leftImg8bit" / "test" / "night" for top in tops), self)
        labels = first_folder((top / "gtCoarse_daytime_trainvaltest" / "test" / "night" for top in tops), self)
        return Listing(
            files(images, r"(.+)_leftImg8bit\.png", deep=True),
            cityscapes_labels(labels, "gtCoarse"),
        )

    def table(self, label: Path) -> LabelTable:
        """Return the table that the file's suffix names."""
        return cityscapes_table(label.name)


READER = NighttimeDriving()
