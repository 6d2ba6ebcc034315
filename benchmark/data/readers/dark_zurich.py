"""Dark Zurich (Sakaridis et al., ICCV 2019): videos of Zurich at night, with fifty labelled frames.

Tree: ``rgb_anon/val/night/<sequence>/<frame>_rgb_anon.png`` and
``gt/val/night/<sequence>/<frame>_gt_labelTrainIds.png`` (or ``_gt_labelIds.png``). The train split and the daytime
reference of the val split (``val_ref``) have no labels; the labels of ``test`` are not public.
"""

from __future__ import annotations

from pathlib import Path

from benchmark.data.folders import cityscapes_labels, files, first_folder
from benchmark.data.labels import LabelTable, cityscapes_table
from benchmark.data.samples import Listing, Reader, known_split


class DarkZurich(Reader):
    """Reader of the labelled night frames of Dark Zurich."""

    name = "dark-zurich"
    home = "Dark Zurich, trace.ethz.ch/publications/2019/GCMA_UIoU (Dark_Zurich_val_anon.zip)"
    licence = "own terms, non-commercial use"
    size = "0.3 GB"
    splits = ("val",)

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``."""
        known_split(split, self)
        tops = (root / "Dark_Zurich_val_anon", root)
        images = first_folder((top / "rgb_anon" / "val" / "night" for top in tops), self)
        labels = first_folder((top / "gt" / "val" / "night" for top in tops), self)
        return Listing(
            files(images, r"(.+)_rgb_anon\.png", deep=True),
            cityscapes_labels(labels, "gt", self),
        )

    def table(self, label: Path) -> LabelTable:
        """Return the table for the file's suffix."""
        return cityscapes_table(label.name)


READER = DarkZurich()
