"""LabelMeFacade (Fröhlich, Rodner, Denzler, ICPR 2010): street views of many cities, seen by pedestrians.

Tree: ``images/<frame>.jpg`` and ``labels/<frame>.png``, with labels as 9 colours. ``train.txt`` and ``test.txt`` list
the frames of a split. Door and window are read as building, "various" is ignored.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from benchmark import labelsets
from benchmark.data.decoding import read_painted
from benchmark.data.folders import files, folder, lines_of
from benchmark.data.labels import Bytes, LabelTable, color_table, set_table
from benchmark.data.samples import Listing, Reader, Sample, known_split

LABELS = labelsets.find("labelmefacade")


class LabelMeFacade(Reader):
    """Reader of LabelMeFacade: ``train`` (100), ``test`` (845), or ``all``, which needs no lists."""

    name = "labelmefacade"
    home = "LabelMeFacade, github.com/cvjena/labelmefacade"
    splits = ("test", "train", "all")
    classes = LABELS.names
    colors = LABELS.colors

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``; also raises if the split's list, or a frame in it, is missing."""
        known_split(split, self)
        images = files(folder(root / "images", self), r"(.+)\.jpg")
        labels = files(folder(root / "labels", self), r"(.+)\.png")
        if split == "all":
            return Listing(images, labels)
        path = root / f"{split}.txt"
        listed = [PurePosixPath(line).stem for line in lines_of(path, self)]
        return Listing(images, labels).only(listed, path, self.home)

    def table(self, label: Path) -> LabelTable:
        """Return the table of the label set's ids; labels are read by colour instead."""
        return set_table(LABELS)

    def read_label(self, sample: Sample) -> Bytes:
        """See ``Reader.read_label``; also raises on an unknown colour."""
        return read_painted(sample.label, color_table("labelmefacade_colors"), self.name, self.home)


READER = LabelMeFacade()
