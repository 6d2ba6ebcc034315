"""SYNTHIA-RAND-CITYSCAPES (Ros et al., CVPR 2016): rendered streets from random viewpoints.

Tree: ``RGB/0000000.png`` to ``RGB/0009399.png`` and ``GT/LABELS/`` with the same names, both in a folder
``RAND_CITYSCAPES/``, which may be the root itself or be inside it. Other tools add ``0000000_labelTrainIds.png`` files
to ``GT/LABELS/``; these are ignored, and so is ``GT/COLOR``. Labels are 16-bit PNGs with several channels: the first
(red) is the class, the second the instance.

No pixel is terrain, truck or train. Papers therefore report the mean over the other 16 classes for models trained on
SYNTHIA only; here the mean is over all classes of a target.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from benchmark.common.errors import UserError
from benchmark.data.decoding import decode
from benchmark.data.folders import files, first_folder
from benchmark.data.labels import Bytes, LabelTable, table
from benchmark.data.samples import Listing, Reader, known_split

RED = 2  # OpenCV's channel order is blue, green, red (and alpha)
ABSENT = "SYNTHIA has no pixels of terrain, truck or train (papers average over the other 16 classes)"


class Synthia(Reader):
    """Reader of SYNTHIA-RAND-CITYSCAPES. There is no official split: ``train`` is every frame."""

    name = "synthia"
    home = "SYNTHIA-RAND-CITYSCAPES, synthia-dataset.net (SYNTHIA_RAND_CITYSCAPES.rar)"
    licence = "CC BY-NC-SA 3.0"
    size = "20 GB"
    splits = ("train",)

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``."""
        known_split(split, self)
        tops = (root / "RAND_CITYSCAPES", root)
        images = first_folder((top / "RGB" for top in tops), self)
        labels = first_folder((top / "GT" / "LABELS" for top in tops), self)
        return Listing(files(images, r"(\d{7})\.png"), files(labels, r"(\d{7})\.png"), (ABSENT,))

    def ids(self, label: Path) -> Bytes:
        """Return the class ids, uint8 (H, W). OpenCV reads them, as Pillow keeps only the high byte of a channel.

        Raises:
            UserError: the file is missing, empty, truncated, or not a 16-bit colour PNG, or an id exceeds 255.
        """
        stored = decode(label, ("PNG",)).info["stored_as"]  # Pillow raises on truncated files, OpenCV does not
        if stored not in ("RGB;16B", "RGBA;16B"):
            raise UserError(
                f"{label}: expected 16-bit channels, the first of them the class, found {stored!r}; "
                f"restore the official file from {self.home}"
            )
        pixels = cv2.imdecode(np.frombuffer(label.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None:  # it also checks the sums of chunks
            raise UserError(f"{label}: damaged; restore the official file from {self.home}")
        classes = np.asarray(pixels)[..., RED]
        if (largest := int(classes.max())) > 255:
            raise UserError(
                f"{label}: label id {largest} does not exist in {self.name}; restore the official file from {self.home}"
            )
        return classes.astype(np.uint8)

    def table(self, label: Path) -> LabelTable:
        """Return the table of SYNTHIA's 23 ids."""
        return table("synthia_ids")


READER = Synthia()
