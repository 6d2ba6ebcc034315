"""Foggy Zurich (Dai et al., IJCV 2020): videos of Zurich in real fog, with forty labelled frames.

Tree: ``RGB/<sequence>/<frame>.png`` and ``gt_labelIds/<sequence>/<frame>.png`` (or ``gt_labelTrainIds/``), in a folder
``Foggy_Zurich/``, which may be the root itself or be inside it. ``lists_file_names/RGB_<split>_filenames.txt`` lists
the frames of a split. Papers usually test on ``testv2``.
"""

from __future__ import annotations

from pathlib import Path

from benchmark.data.folders import files, first_folder, folder, lines_of
from benchmark.data.labels import LabelTable, cityscapes_table
from benchmark.data.samples import Listing, Reader, known_split

ENCODINGS = ("gt_labelTrainIds", "gt_labelIds")


class FoggyZurich(Reader):
    """Reader of the labelled frames of Foggy Zurich: ``testv2`` (40), and the earlier ``testv1`` (16)."""

    name = "foggy-zurich"
    home = "Foggy Zurich, people.ee.ethz.ch/~csakarid/Model_adaptation_SFSU_dense"
    licence = "own terms, non-commercial use"
    size = "10 GB"
    splits = ("testv2", "testv1")

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``; also raises if the split's list, or a frame in it, is missing."""
        known_split(split, self)
        rgb = first_folder((root / "Foggy_Zurich" / "RGB", root / "RGB"), self)
        places = [rgb.parent / name for name in ENCODINGS]
        images, labels = files(rgb, r"(.+)\.png", deep=True), dict[str, Path]()
        for place in [place for place in places if place.is_dir()] or [folder(places[-1], self)]:
            labels |= files(place, r"(.+)\.png", deep=True)
        path = rgb.parent / "lists_file_names" / f"RGB_{split}_filenames.txt"
        listed = [line.lstrip("/").removeprefix("RGB/").removesuffix(".png") for line in lines_of(path, self)]
        return Listing(images, labels).only(listed, path, self.home)

    def table(self, label: Path) -> LabelTable:
        """Return the table for the label's folder."""
        return cityscapes_table(next(part for part in reversed(label.parts) if part in ENCODINGS))


READER = FoggyZurich()
