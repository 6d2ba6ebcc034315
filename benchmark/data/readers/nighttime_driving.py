"""Nighttime Driving (Dai and Van Gool, ITSC 2018): fifty street images at night with coarse labels.

Tree: ``leftImg8bit/test/night/<frame>_leftImg8bit.png`` and
``gtCoarse_daytime_trainvaltest/test/night/<frame>_gtCoarse_labelTrainIds.png`` (or ``_gtCoarse_labelIds.png``), in a
folder ``NighttimeDrivingTest/``, which may be the root itself or be inside it.
"""

from __future__ import annotations

from pathlib import Path

from benchmark.data.folders import cityscapes_labels, files, first_folder
from benchmark.data.labels import LabelTable, cityscapes_table
from benchmark.data.samples import Listing, Reader, known_split


class NighttimeDriving(Reader):
    """Reader of Nighttime Driving, a test set."""

    name = "nighttime-driving"
    home = "Nighttime Driving, data.vision.ee.ethz.ch/daid/NighttimeDriving (NighttimeDrivingTest.zip)"
    licence = "not stated; ask the authors"
    size = "0.1 GB"
    splits = ("test",)

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``."""
        known_split(split, self)
        tops = (root / "NighttimeDrivingTest", root)
        images = first_folder((top / "leftImg8bit" / "test" / "night" for top in tops), self)
        labels = first_folder((top / "gtCoarse_daytime_trainvaltest" / "test" / "night" for top in tops), self)
        return Listing(
            files(images, r"(.+)_leftImg8bit\.png", deep=True),
            cityscapes_labels(labels, "gtCoarse", self),
        )

    def table(self, label: Path) -> LabelTable:
        """Return the table for the file's suffix."""
        return cityscapes_table(label.name)


READER = NighttimeDriving()
