"""GTA5, "Playing for Data" (Richter et al., ECCV 2016): rendered frames of a game.

Tree: ``images/00001.png`` to ``images/24966.png`` and ``labels/`` with the same names; other tools leave
``00001_labelTrainIds.png`` beside the originals, which are passed over. Labels are palette images of
Cityscapes label ids, plus 34 (licence plate).

Known faults of the release: two frames are one plain colour and are dropped; sixty labels have another size
than their image and are resized (nearest), as Rein's pipeline does in effect.
"""

from __future__ import annotations

import json
from collections.abc import Set as AbstractSet
from pathlib import Path

import cv2
import numpy as np

from benchmark.common.errors import UserError, nearest
from benchmark.data.labels import FACTS, Bytes, LabelTable, table
from benchmark.data.samples import Listing, Reader, Sample, files, folder, read_image

UNUSABLE = frozenset(FACTS["gta5_files"]["unusable"])
RESIZED = frozenset(FACTS["gta5_files"]["resized"])


class Gta5(Reader):
    """Reader of GTA5.

    Splits: ``all`` is every frame. ``train``, ``val`` and ``test`` follow ``splits.json`` in the root
    (``{"train": ["00001", ...], "val": [...], "test": [...]}``); without that file ``train`` is all, as the field
    trains.
    """

    name = "gta5"
    home = "GTA5 'Playing for Data', download.visinf.tu-darmstadt.de (01-10_images.zip, 01-10_labels.zip)"
    splits = ("all", "train", "val", "test")

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``; also raises on a ``splits.json`` missing, malformed or unfulfilled."""
        images = files(folder(root / "images", self), r"(\d{5})\.png")
        labels = files(folder(root / "labels", self), r"(\d{5})\.png")
        listed = _split(root / "splits.json", split)
        for key in sorted(listed or ()):
            if key not in images or key not in labels:
                raise UserError(f"{root / 'splits.json'}: split {split!r} names {key!r}, which has no image or label")
        wanted = images.keys() | labels.keys() if listed is None else listed
        keep, dropped = wanted - UNUSABLE, wanted & UNUSABLE
        return Listing(
            {key: path for key, path in images.items() if key in keep},
            {key: path for key, path in labels.items() if key in keep},
            _notes(dropped, keep & RESIZED),
        )

    def table(self, label: Path) -> LabelTable:
        """Return the table of GTA5's label ids."""
        return table("gta5_label_ids")

    def read(self, sample: Sample) -> tuple[Bytes, Bytes]:
        """See ``Reader.read``; the labels known to differ in size are brought to their image's."""
        if sample.id not in RESIZED:
            return super().read(sample)
        image, label = read_image(sample.image), self.read_label(sample)
        height, width = image.shape[:2]
        return image, np.asarray(cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def _notes(dropped: AbstractSet[str], resized: AbstractSet[str]) -> tuple[str, ...]:
    unusable = f"{len(dropped)} unusable frame(s) left out: {', '.join(sorted(dropped))}"
    other_size = f"{len(resized)} label(s) of another size than their image, resized to it"
    return tuple(note for note, found in ((unusable, dropped), (other_size, resized)) if found)


def _split(path: Path, split: str) -> frozenset[str] | None:
    """Return the frame ids of ``split``, or None for every frame."""
    if split == "all" or (split == "train" and not path.is_file()):
        return None
    if not path.is_file():
        raise UserError(
            f"gta5: split {split!r} needs {path}, which is missing; without it only 'all' and 'train' exist"
        )
    try:
        lists = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(lists, dict) or split not in lists:
        raise UserError(f"{path}: no split {split!r}; {nearest(split, lists if isinstance(lists, dict) else ())}")
    if not isinstance(lists[split], list):
        raise UserError(f"{path}: split {split!r} is not a list of frame ids")
    return frozenset(map(str, lists[split]))


READER = Gta5()
