"""Foggy Driving (Sakaridis et al., IJCV 2018): 101 photographs of streets in real fog, some of them from the web.

Tree: ``leftImg8bit/test/<origin>/<stem>_leftImg8bit.png`` with ``gtFine/test/<origin>/<stem>_gtFine_labelIds.png`` (33
frames), and ``leftImg8bit/test_extra/`` with ``gtCoarse/test_extra/…_gtCoarse_labelIds.png`` (68 frames), in a folder
``Foggy_Driving/``, which may be the root itself or be inside it.
"""

from __future__ import annotations

from pathlib import Path

from benchmark.data.folders import below, cityscapes_labels, files, first_folder
from benchmark.data.labels import LabelTable, cityscapes_table
from benchmark.data.samples import Listing, Reader, known_split

KINDS = {"test": "gtFine", "test_extra": "gtCoarse"}


class FoggyDriving(Reader):
    """Reader of Foggy Driving: ``test`` (fine labels), ``test_extra`` (coarse labels), ``all`` (the usual choice)."""

    name = "foggy-driving"
    home = "Foggy Driving, people.ee.ethz.ch/~csakarid/SFSU_synthetic"
    licence = "own terms, non-commercial use"
    size = "0.3 GB"
    splits = ("all", *KINDS)

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``."""
        known_split(split, self)
        tops = (root / "Foggy_Driving", root)
        images: dict[str, Path] = {}
        labels: dict[str, Path] = {}
        for part in KINDS if split == "all" else (split,):
            kind = KINDS[part]
            rgb = first_folder((top / "leftImg8bit" / part for top in tops), self)
            gt = first_folder((top / kind / part for top in tops), self)
            images |= below(part, files(rgb, r"(.+)_leftImg8bit\.png", deep=True))
            labels |= below(part, cityscapes_labels(gt, kind, self))
        return Listing(images, labels)

    def table(self, label: Path) -> LabelTable:
        """Return the table for the file's suffix."""
        return cityscapes_table(label.name)


READER = FoggyDriving()
