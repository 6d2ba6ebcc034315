"""CamVid (Brostow, Fauqueur, Cipolla, 2008): drives through Cambridge, by day and at dusk.

Two releases. The official one: ``701_StillsRaw_full/<id>.png`` (960x720) and
``LabeledApproved_full/<id>_L.png``, labels painted in 32 colours. The SegNet copy:
``{train,val,test}/<id>.png`` (480x360) and ``{train,val,test}annot/<id>.png`` with ids 0-10, 11 = void. Both
give CamVid's usual 11 classes, in SegNet's order.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.common.errors import UserError, nearest
from benchmark.data.labels import CAMVID, CAMVID_COLORS, FACTS, Bytes, LabelTable, table
from benchmark.data.samples import (
    Listing,
    Reader,
    Sample,
    files,
    first_folder,
    folder,
    known_split,
    read_image,
)

SEQUENCES = ("0001TP", "0006R0", "0016E5", "Seq05VD")
PARTS = ("train", "val", "test")
STILLS = ("701_StillsRaw_full", "images")
PAINTED = ("LabeledApproved_full", "labels")


class Camvid(Reader):
    """Reader of CamVid; ``<part>:<sequence>`` restricts a split to one drive, and part ``*`` is all three.

    Drives: 0016E5 and 0006R0 by day, Seq05VD by day in another part of town, 0001TP at dusk.
    """

    name = "camvid"
    home = (
        "CamVid, mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid (701_StillsRaw_full.zip, "
        "LabeledApproved_full.zip), or the folder CamVid of the SegNet tutorial"
    )
    splits = ("train", "val", "test", "*", "<any of these>:<sequence>")
    classes = CAMVID
    colors = CAMVID_COLORS

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``; also raises on an unknown sequence."""
        part, _, sequence = split.partition(":")
        known_split(part, self)
        if sequence and sequence not in SEQUENCES:
            raise UserError(f"camvid: unknown sequence {sequence!r} in split {split!r}; {nearest(sequence, SEQUENCES)}")
        parts = PARTS if part == "*" else (part,)
        official = any((root / name).is_dir() for name in STILLS)
        images, labels = self._official(root, parts) if official else self._segnet(root, parts)
        return Listing(_drive(images, sequence), _drive(labels, sequence))

    def _segnet(self, root: Path, parts: tuple[str, ...]) -> tuple[dict[str, Path], dict[str, Path]]:
        images: dict[str, Path] = {}
        labels: dict[str, Path] = {}
        for part in parts:
            images |= files(folder(root / part, self), r"(.+)\.png")
            labels |= files(folder(root / f"{part}annot", self), r"(.+)\.png")
        return images, labels

    def _official(self, root: Path, parts: tuple[str, ...]) -> tuple[dict[str, Path], dict[str, Path]]:
        stills = files(first_folder((root / name for name in STILLS), self), r"(.+_f?\d+)\.png")
        painted = files(first_folder((root / name for name in PAINTED), self), r"(.+_f?\d+)_L\.png")
        images = {key: path for key, path in stills.items() if part_of(key) in parts}
        labels = {key: path for key, path in painted.items() if part_of(key) in parts}
        return images, labels

    def table(self, label: Path) -> LabelTable:
        """Return the table of the SegNet copy's ids; painted labels are read by colour instead."""
        return table("camvid_ids")

    def read_label(self, sample: Sample) -> Bytes:
        """See ``Reader.read_label``; an unknown colour is an unknown id."""
        if not sample.label.stem.endswith("_L"):
            return super().read_label(sample)
        colors = read_image(sample.label).astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
        codes, trains = _painted()
        at = np.searchsorted(codes, colors).clip(max=len(codes) - 1)
        if (strange := codes[at] != colors).any():
            code = int(colors[strange][0])
            raise UserError(
                f"{sample.label}: colour {(code >> 16, code >> 8 & 255, code & 255)} is none of CamVid's 32; "
                f"restore the official file from {self.home}"
            )
        return trains[at]


def part_of(frame: str) -> str:
    """Return the part (train, val, test) of SegNet's split that holds ``frame`` of the official release.

    SegNet's lists (367, 101 and 233 frames) are runs of consecutive frames, so two bounds say it all.
    """
    sequence, _, number = frame.partition("_")
    if sequence == "Seq05VD" or (sequence == "0001TP" and int(number) >= 8550):
        return "test"
    return "val" if sequence == "0016E5" and 7959 <= int(number) <= 8159 else "train"


def _drive(found: dict[str, Path], sequence: str) -> dict[str, Path]:
    return {key: path for key, path in found.items() if key.startswith(f"{sequence}_" if sequence else "")}


@cache
def _painted() -> tuple[NDArray[np.int32], Bytes]:
    entries = sorted(
        (red << 16 | green << 8 | blue, entry["id"])
        for entry in FACTS["camvid_colors"]["classes"].values()
        for red, green, blue in [entry["rgb"]]
    )
    return np.array([code for code, _ in entries], np.int32), np.array([train for _, train in entries], np.uint8)


READER = Camvid()
