"""ACDC (Sakaridis et al., ICCV 2021): Swiss streets in fog, at night, in rain and in snow.

Tree: ``rgb_anon/<condition>/<split>/<sequence>/<frame>_rgb_anon.png`` and
``gt/<condition>/<split>/<sequence>/<frame>_gt_labelIds.png`` (or ``_gt_labelTrainIds.png``). The
clear-weather reference drives (``*_ref``) are no part of any split.
"""

from __future__ import annotations

from pathlib import Path

from benchmark.data.labels import LabelTable, cityscapes_table
from benchmark.data.samples import Listing, Reader, below, cityscapes_labels, files, folder, known_split
from benchmark.errors import UserError, nearest

CONDITIONS = ("fog", "night", "rain", "snow")


class Acdc(Reader):
    """Reader of ACDC; ``val:fog`` is one condition, ``val`` all four. Labels of ``test`` are not public."""

    name = "acdc"
    home = "ACDC, acdc.vision.ee.ethz.ch (rgb_anon_trainvaltest.zip, gt_trainval.zip)"
    splits = ("train", "val", "train:<condition>", "val:<condition>")

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``; also raises on an unknown condition."""
        part, _, condition = split.partition(":")
        known_split(part, self)
        if condition and condition not in CONDITIONS:
            raise UserError(
                f"acdc: unknown condition {condition!r} in split {split!r}; {nearest(condition, CONDITIONS)}"
            )
        images: dict[str, Path] = {}
        labels: dict[str, Path] = {}
        for name in (condition,) if condition else CONDITIONS:
            rgb, gt = folder(root / "rgb_anon" / name / part, self), folder(root / "gt" / name / part, self)
            images |= below(name, files(rgb, r"(.+)_rgb_anon\.png", deep=True))
            labels |= below(name, cityscapes_labels(gt, "gt"))
        return Listing(images, labels)

    def table(self, label: Path) -> LabelTable:
        """Return the table that the file's suffix names."""
        return cityscapes_table(label.name)


READER = Acdc()
