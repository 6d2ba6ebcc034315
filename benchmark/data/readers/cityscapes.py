"""Cityscapes (Cordts et al., CVPR 2016): streets of fifty cities, mostly German.

Tree: ``leftImg8bit/<split>/<city>/<stem>_leftImg8bit.png`` and
``gtFine/<split>/<city>/<stem>_gtFine_labelIds.png``. Images may be one level deeper, in
``leftImg8bit_trainvaltest/`` (labels in ``gtFine_trainvaltest/``), as the zips are named. If the official script
added ``_gtFine_labelTrainIds.png``, the original ``labelIds`` are still preferred.
"""

from __future__ import annotations

from pathlib import Path

from benchmark.data.folders import cityscapes_labels, files, first_folder
from benchmark.data.labels import LabelTable, cityscapes_table
from benchmark.data.samples import Listing, Reader, known_split


class Cityscapes(Reader):
    """Reader of Cityscapes; the labels of ``test`` are not public."""

    name = "cityscapes"
    home = "Cityscapes, cityscapes-dataset.com (leftImg8bit_trainvaltest.zip, gtFine_trainvaltest.zip)"
    licence = "own terms, non-commercial use"
    size = "11 GB"
    splits = ("train", "val")

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``."""
        known_split(split, self)
        images = _folder(root, "leftImg8bit", split, self)
        labels = _folder(root, "gtFine", split, self)
        return Listing(
            files(images, r"(.+)_leftImg8bit\.png", deep=True),
            cityscapes_labels(labels, "gtFine", self),
        )

    def table(self, label: Path) -> LabelTable:
        """Return the table for the file's suffix."""
        return cityscapes_table(label.name)


def _folder(root: Path, part: str, split: str, reader: Reader) -> Path:
    return first_folder((root / part / split, root / f"{part}_trainvaltest" / part / split), reader)


READER = Cityscapes()
