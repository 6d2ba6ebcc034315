"""ACDC (Sakaridis et al., ICCV 2021): Swiss streets in fog, night, rain and snow.

Tree: ``rgb_anon/<condition>/<split>/<sequence>/<frame>_rgb_anon.png`` and
``gt/<condition>/<split>/<sequence>/<frame>_gt_labelIds.png`` (or ``_gt_labelTrainIds.png``). The
clear-weather reference frames (``*_ref``) are not part of any split. DAFormer's set-up copies all conditions into one
folder, ``rgb_anon/<split>/`` and ``gt/<split>/``; if only these folders exist, the conditions are unknown.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchmark.common.errors import UserError, nearest
from benchmark.data.folders import below, cityscapes_labels, files, folder
from benchmark.data.labels import LabelTable, cityscapes_table
from benchmark.data.samples import Listing, Reader, known_split

CONDITIONS = ("fog", "night", "rain", "snow")


class Acdc(Reader):
    """Reader of ACDC; ``val:fog`` is one condition, ``val`` all four. The labels of ``test`` are not public."""

    name = "acdc"
    home = "ACDC, acdc.vision.ee.ethz.ch (rgb_anon_trainvaltest.zip, gt_trainval.zip)"
    licence = "own terms, non-commercial use"
    size = "15 GB"
    splits = ("train", "val", "train:<condition>", "val:<condition>")

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``; also raises if the condition does not exist or the folders do not distinguish it."""
        part, _, condition = split.partition(":")
        known_split(part, self)
        if condition and condition not in CONDITIONS:
            raise UserError(
                f"acdc: unknown condition {condition!r} in split {split!r}; {nearest(condition, CONDITIONS)}"
            )
        flat = root / "rgb_anon" / part
        if os.path.isdir(flat) and not any(os.path.isdir(root / "rgb_anon" / name / part) for name in CONDITIONS):
            if condition:
                raise UserError(
                    f"acdc: {flat} has all conditions in one folder, but split {split!r} needs a folder for each; "
                    f"unpack {self.home} there"
                )
            labelled = cityscapes_labels(folder(root / "gt" / part, self), "gt", self)
            return Listing(files(flat, r"(.+)_rgb_anon\.png", deep=True), labelled, ("all conditions in one folder",))
        images: dict[str, Path] = {}
        labels: dict[str, Path] = {}
        for name in (condition,) if condition else CONDITIONS:
            rgb, gt = folder(root / "rgb_anon" / name / part, self), folder(root / "gt" / name / part, self)
            images |= below(name, files(rgb, r"(.+)_rgb_anon\.png", deep=True))
            labels |= below(name, cityscapes_labels(gt, "gt", self))
        return Listing(images, labels)

    def table(self, label: Path) -> LabelTable:
        """Return the table for the file's suffix."""
        return cityscapes_table(label.name)


READER = Acdc()
