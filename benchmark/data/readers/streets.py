"""Rendered streets, 256x128; see :mod:`benchmark.data.streets`.

Tree: ``<look>/<part>/images/<id>.png`` (or ``.jpg``) and ``<look>/<part>/labels/<id>.png``. Labels are stored as train
ids.
"""

from __future__ import annotations

from pathlib import Path

from benchmark.data import streets
from benchmark.data.folders import below, files, folder
from benchmark.data.labels import LabelTable, table
from benchmark.data.samples import Listing, Reader


class Streets(Reader):
    """Reader of rendered streets. A split is ``<look>/<part>``, such as ``game/train``."""

    name = "streets"
    home = "the output of python -m benchmark data render --output DIR"
    splits = tuple(f"{part.look}/{part.name}" for part in streets.parts("streets"))
    rendered = True
    licence = "of this project"
    size = "0.1 GB"

    def released(self, split: str) -> int | None:
        """Return the number of frames that the renderer writes."""
        return streets.find_part(self.name, split).count

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``."""
        streets.find_part(self.name, split)
        images, labels = (files(folder(root / split / kind, self), pattern) for kind, pattern in _FILES.items())
        return Listing(below(split, images), below(split, labels))

    def table(self, label: Path) -> LabelTable:
        """Return the table of train ids."""
        return table("train_ids")


_FILES = {"images": r"(.+)\.(?:png|jpg)", "labels": r"(.+)\.png"}
READER = Streets()
