"""CamVid (Brostow, Fauqueur, Cipolla, 2008): driving videos from Cambridge, by day and at dusk.

Three layouts are read. The official release has ``701_StillsRaw_full/<id>.png`` (960x720) and
``LabeledApproved_full/<id>_L.png``, with labels as 32 colours. Copies of it on Kaggle have the same files in
``{train,val,test}/<id>.png`` and ``{train,val,test}_labels/<id>_L.png``, divided in another way; frames belong to
SegNet's split here, whichever folder they are in. The SegNet copy has ``{train,val,test}/<id>.png`` (480x360) and
``{train,val,test}annot/<id>.png``, with ids 0-10 and 11 for void. All are read as the usual 11 classes, in SegNet's
order.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from benchmark import labelsets
from benchmark.common.errors import UserError, nearest
from benchmark.data.decoding import read_painted
from benchmark.data.folders import files, first_folder, folder
from benchmark.data.labels import CAMVID, CAMVID_COLORS, Bytes, LabelTable, color_table, set_table
from benchmark.data.samples import Listing, Reader, Sample, known_split

SEQUENCES = ("0001TP", "0006R0", "0016E5", "Seq05VD")
PARTS = ("train", "val", "test")
STILLS = ("701_StillsRaw_full", "images")
COLORED = ("LabeledApproved_full", "labels")
DIVIDED = "frames divided as in the SegNet copy, whichever folder they are in"


class Camvid(Reader):
    """Reader of CamVid. ``<part>:<sequence>`` restricts a split to one sequence; part ``*`` is all three parts.

    Sequences: 0016E5 and 0006R0 by day, Seq05VD by day in another part of town, 0001TP at dusk.
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
        """See ``Reader.listing``; also raises if the sequence is unknown."""
        part, _, sequence = split.partition(":")
        known_split(part, self)
        if sequence and sequence not in SEQUENCES:
            raise UserError(f"camvid: unknown sequence {sequence!r} in split {split!r}; {nearest(sequence, SEQUENCES)}")
        parts = PARTS if part == "*" else (part,)
        if any(os.path.isdir(root / name) for name in STILLS):
            stills, colored = (first_folder((root / name for name in names), self) for names in (STILLS, COLORED))
            images, labels = _painted([stills], [colored], parts)
            notes: tuple[str, ...] = ()
        elif any(os.path.isdir(root / f"{name}_labels") for name in PARTS):
            stills_of, colored_of = ([folder(root / f"{name}{end}", self) for name in PARTS] for end in ("", "_labels"))
            images, labels = _painted(stills_of, colored_of, parts)
            notes = (DIVIDED,)
        else:
            images, labels = self._segnet(root, parts)
            notes = ()
        if indexed := [path for path in labels.values() if path.stem.lower().endswith("_p")]:
            raise UserError(
                f"camvid: {indexed[0]}: labels of fast.ai's copy, with ids of another list; get {self.home}"
            )
        return Listing(_of_sequence(images, sequence), _of_sequence(labels, sequence), notes)

    def _segnet(self, root: Path, parts: tuple[str, ...]) -> tuple[dict[str, Path], dict[str, Path]]:
        images: dict[str, Path] = {}
        labels: dict[str, Path] = {}
        for part in parts:
            images |= files(folder(root / part, self), r"(.+)\.png")
            labels |= files(folder(root / f"{part}annot", self), r"(.+)\.png")
        return images, labels

    def table(self, label: Path) -> LabelTable:
        """Return the table of the SegNet copy's ids; the official labels are read by colour instead."""
        return set_table(labelsets.find("camvid"))

    def read_label(self, sample: Sample) -> Bytes:
        """See ``Reader.read_label``; also raises on an unknown colour."""
        if not sample.label.stem.lower().endswith("_l"):
            return super().read_label(sample)
        return read_painted(sample.label, color_table("camvid_colors"), self.name, self.home)


def _painted(
    stills: Sequence[Path], colored: Sequence[Path], parts: tuple[str, ...]
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the images in the folders ``stills`` and the labels as colours in ``colored`` of some parts, by frame."""
    images, labels = (
        {key: path for place in places for key, path in files(place, pattern).items() if part_of(key) in parts}
        for places, pattern in ((stills, r"(.+_f?\d+)\.png"), (colored, r"(.+_f?\d+)_[LP]\.png"))
    )
    return images, labels


def part_of(frame: str) -> str:
    """Return the part (train, val, test) of SegNet's split that ``frame`` of the official release belongs to.

    SegNet's lists (367, 101 and 233 frames) are ranges of consecutive frames.
    """
    sequence, _, number = frame.partition("_")
    if sequence == "Seq05VD" or (sequence == "0001TP" and int(number) >= 8550):
        return "test"
    return "val" if sequence == "0016E5" and 7959 <= int(number) <= 8159 else "train"


def _of_sequence(found: dict[str, Path], sequence: str) -> dict[str, Path]:
    return {key: path for key, path in found.items() if key.startswith(f"{sequence}_" if sequence else "")}


READER = Camvid()
