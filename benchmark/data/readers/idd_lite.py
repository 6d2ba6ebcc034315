"""IDD-lite (Varma et al., IDD, WACV 2019): roads in India at 320x227, with 7 classes.

Tree: ``leftImg8bit/<split>/<drive>/<frame>_image.jpg`` and ``gtFine/<split>/<drive>/<frame>_label.png``, with the ids
0-6, and 255 for void. The root may also contain this tree in a folder ``idd20k_lite/``, as in the archive.
"""

from __future__ import annotations

from pathlib import Path

from benchmark import labelsets
from benchmark.data.folders import files, first_folder, folder
from benchmark.data.labels import LabelTable, set_table
from benchmark.data.samples import Listing, Reader, known_split

LABELS = labelsets.find("idd-lite")


class IddLite(Reader):
    """Reader of IDD-lite. The test images have no labels."""

    name = "idd-lite"
    home = "IDD-lite, idd.insaan.iiit.ac.in (idd-lite.tar.gz)"
    splits = ("train", "val")
    classes = LABELS.names
    colors = LABELS.colors

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``."""
        known_split(split, self)
        images = first_folder((top / "leftImg8bit" for top in (root, root / "idd20k_lite")), self)
        labels = folder(images.parent / "gtFine" / split, self)
        return Listing(
            files(folder(images / split, self), r"(\w+)_image\.jpg", deep=True),
            # Beside each label may be one of instances, <frame>_inst_label.png.
            files(labels, r"(?!.*_inst_label)(\w+)_label\.png", deep=True),
        )

    def table(self, label: Path) -> LabelTable:
        """Return the table of the release's ids."""
        return set_table(LABELS)


READER = IddLite()
