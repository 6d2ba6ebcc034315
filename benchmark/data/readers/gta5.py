"""GTA5, "Playing for Data" (Richter et al., ECCV 2016): frames of a video game.

Tree: ``images/00001.png`` to ``images/24966.png`` and ``labels/`` with the same names. Labels are palette images of
Cityscapes label ids, plus 34 (licence plate). Other tools add ``00001_labelTrainIds.png`` files to ``labels/``; these
are read only if the originals were removed.

Known faults of the release: two frames have a single colour and are left out. Sixty labels differ in size from their
image and are resized (nearest-neighbour), which is equivalent to Rein's pipeline.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from pathlib import Path

import cv2
import numpy as np

from benchmark.common import reading, strict_json
from benchmark.common.errors import UserError, nearest
from benchmark.data.decoding import read_image
from benchmark.data.folders import files, folder
from benchmark.data.labels import FACTS, Bytes, LabelTable, table
from benchmark.data.samples import Listing, Reader, Sample

UNUSABLE = frozenset(FACTS["gta5_files"]["unusable"])
RESIZED = frozenset(FACTS["gta5_files"]["resized"])


class Gta5(Reader):
    """Reader of GTA5.

    Split ``all`` is every frame. ``train``, ``val`` and ``test`` are defined by ``splits.json`` in the root
    (``{"train": ["00001", ...], "val": [...], "test": [...]}``). Without that file, ``train`` is every frame, which
    is what papers usually train on.
    """

    name = "gta5"
    home = "GTA5 'Playing for Data', download.visinf.tu-darmstadt.de (01-10_images.zip, 01-10_labels.zip)"
    licence = "research and education only"
    size = "57 GB"
    splits = ("all", "train", "val", "test")

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``; also raises if ``splits.json`` is missing or malformed or lists missing frames."""
        images = files(folder(root / "images", self), r"(\d{5})\.png")
        place = folder(root / "labels", self)
        labels = files(place, r"(\d{5})\.png") or files(place, r"(\d{5})_labelTrainIds\.png")
        listed = _split(root / "splits.json", split)
        for key in sorted(listed or ()):
            if key not in images or key not in labels:
                raise UserError(f"{root / 'splits.json'}: frame {key!r} of split {split!r} has no image or no label")
        wanted = images.keys() | labels.keys() if listed is None else listed
        keep, dropped = wanted - UNUSABLE, wanted & UNUSABLE
        return Listing(
            {key: path for key, path in images.items() if key in keep},
            {key: path for key, path in labels.items() if key in keep},
            _notes(dropped, keep & RESIZED),
        )

    def table(self, label: Path) -> LabelTable:
        """Return the table for the file's suffix."""
        return table("train_ids" if label.stem.lower().endswith("_labeltrainids") else "gta5_label_ids")

    def read(self, sample: Sample) -> tuple[Bytes, Bytes]:
        """See ``Reader.read``; labels known to differ in size are resized to their image."""
        if sample.id not in RESIZED:
            return super().read(sample)
        image, label = read_image(sample.image), self.read_label(sample)
        height, width = image.shape[:2]
        return image, np.asarray(cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def _notes(dropped: AbstractSet[str], resized: AbstractSet[str]) -> tuple[str, ...]:
    unusable = f"{len(dropped)} unusable frame(s) left out: {', '.join(sorted(dropped))}"
    other_size = f"{len(resized)} label(s) resized to the size of their image"
    return tuple(note for note, found in ((unusable, dropped), (other_size, resized)) if found)


def _split(path: Path, split: str) -> frozenset[str] | None:
    """Return the frame ids of ``split``; None for all frames."""
    if split == "all" or (split == "train" and not reading.present(path)):
        return None
    if not reading.present(path):
        raise UserError(f"gta5: split {split!r} needs {path}, which is missing; add it, or use split 'all' or 'train'")
    try:
        lists = strict_json.load(reading.read_text(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); remove or restore it") from error
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); remove or restore it") from error
    if not isinstance(lists, dict) or split not in lists:
        raise UserError(f"{path}: no split {split!r}; {nearest(split, lists if isinstance(lists, dict) else ())}")
    if not isinstance(lists[split], list) or not lists[split]:
        raise UserError(f"{path}: split {split!r} is not a list of frame ids; correct or remove it")
    found = {name: frozenset(map(str, frames)) for name, frames in lists.items() if isinstance(frames, list)}
    for name, frames in found.items():
        if name != split and (both := frames & found[split]):  # validation or test frames would be trained on
            raise UserError(
                f"{path}: {len(both)} frame(s) are in both {split!r} and {name!r}, first {min(both)!r}; list each once"
            )
    return found[split]


READER = Gta5()
