"""UrbanSyn (Gómez et al., 2023): rendered streets made to resemble Cityscapes.

Tree: ``rgb/rgb_0001.png`` to ``rgb/rgb_7539.png`` and ``ss/ss_0001.png`` to ``ss/ss_7539.png``. Unpacking each zip into
a folder of its name results in ``rgb/rgb/`` and ``ss/ss/``, which are read as well. Labels are train ids, and 19 for
void.
"""

from __future__ import annotations

from pathlib import Path

from benchmark.data.folders import files, first_folder
from benchmark.data.labels import LabelTable, table
from benchmark.data.samples import Listing, Reader, known_split


class UrbanSyn(Reader):
    """Reader of UrbanSyn. There is no official split: ``train`` is every frame."""

    name = "urbansyn"
    home = "UrbanSyn, huggingface.co/datasets/UrbanSyn/UrbanSyn (folders rgb and ss), or urbansyn.org (rgb.zip, ss.zip)"
    licence = "CC BY-SA 4.0"
    size = "25 GB"
    splits = ("train",)

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``."""
        known_split(split, self)
        images, labels = (first_folder((root / part / part, root / part), self) for part in ("rgb", "ss"))
        return Listing(files(images, r"rgb_(\d{4})\.png"), files(labels, r"ss_(\d{4})\.png"))

    def table(self, label: Path) -> LabelTable:
        """Return the table of train ids and 19 for void."""
        return table("urbansyn_ids")


READER = UrbanSyn()
