"""SYNTHIA-RAND-CITYSCAPES (Ros et al., CVPR 2016): rendered streets from random viewpoints.

Tree: ``RGB/0000000.png`` to ``RGB/0009399.png`` and ``GT/LABELS/`` with the same names, both in a folder
``RAND_CITYSCAPES/``, which may or may not be the root itself; other tools leave ``0000000_labelTrainIds.png`` beside
the originals, which are passed over. ``GT/COLOR`` is for the eye only. Labels are 16-bit PNGs of several channels:
the first (red) is the class, the second the instance.

No pixel is terrain, truck or train. The field therefore gives a model that was trained on SYNTHIA alone its mean
over the other 16 classes; here all classes that a target has are averaged.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from benchmark.common.errors import UserError
from benchmark.data.labels import Bytes, LabelTable, table
from benchmark.data.samples import Listing, Reader, decode, files, first_folder, known_split

RED = 2  # OpenCV has channels in the order blue, green, red (, alpha)
ABSENT = "no pixel of SYNTHIA is terrain, truck or train (its own papers average 16 classes)"


class Synthia(Reader):
    """Reader of SYNTHIA-RAND-CITYSCAPES; there is no official split, so ``train`` is every frame."""

    name = "synthia"
    home = "SYNTHIA-RAND-CITYSCAPES, synthia-dataset.net (SYNTHIA_RAND_CITYSCAPES.rar)"
    splits = ("train",)

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``."""
        known_split(split, self)
        tops = (root / "RAND_CITYSCAPES", root)
        images = first_folder((top / "RGB" for top in tops), self)
        labels = first_folder((top / "GT" / "LABELS" for top in tops), self)
        return Listing(files(images, r"(\d{7})\.png"), files(labels, r"(\d{7})\.png"), (ABSENT,))

    def ids(self, label: Path) -> Bytes:
        """Return the classes, uint8 (H, W); Pillow keeps only each channel's high byte, so OpenCV reads them.

        Raises:
            UserError: missing, empty, truncated, or not a 16-bit colour PNG; an id that no byte holds.
        """
        stored = decode(label, ("PNG",)).info["stored_as"]  # OpenCV fills a truncated file up, Pillow does not
        if stored not in ("RGB;16B", "RGBA;16B"):
            raise UserError(
                f"{label}: stored as {stored!r} where 16-bit channels, the first the class, are expected; "
                f"restore the official file from {self.home}"
            )
        pixels = cv2.imdecode(np.frombuffer(label.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
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
