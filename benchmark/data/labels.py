"""Label tables, which map stored label ids or colours to train ids.

The data are in ``labels.json``, each with its source. Train ids are those of a label set, see
:mod:`benchmark.labelsets`. 255 always means ignore.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmark import labelsets
from benchmark.labelsets import LabelSet

Color = tuple[int, int, int]
Bytes = NDArray[np.uint8]

IGNORE = 255
FACTS: Mapping[str, Any] = json.loads(Path(__file__).with_name("labels.json").read_text(encoding="utf-8"))


CITYSCAPES, CITYSCAPES_COLORS = labelsets.find("cityscapes").names, labelsets.find("cityscapes").colors
CAMVID, CAMVID_COLORS = labelsets.find("camvid").names, labelsets.find("camvid").colors


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Mapping of one label encoding to train ids.

    Attributes:
        lut: uint8 (256,), train id of each stored id; 255 for ids that the encoding does not have.
        known: bool (256,), whether the encoding has the id.
    """

    lut: Bytes
    known: NDArray[np.bool_]

    @classmethod
    def of(cls, ids: Mapping[int, int]) -> LabelTable:
        """Return the table of the mapping ``ids`` (stored id to train id); all other ids are unknown."""
        lut, known = np.full(256, IGNORE, np.uint8), np.zeros(256, np.bool_)
        for stored, train in ids.items():
            lut[stored], known[stored] = train, True
        lut.flags.writeable = known.flags.writeable = False
        return cls(lut, known)

    def unknown(self, ids: Bytes) -> list[int]:
        """Return the ids in ``ids`` (H, W) that this encoding does not have, sorted."""
        if self.known[: int(ids.max()) + 1].all():  # fast path: most encodings use all ids from 0
            return []
        known = cv2.LUT(ids, self.known.view(np.uint8))
        return [] if known.all() else np.unique(ids[known == 0]).tolist()

    def train_ids(self, ids: Bytes) -> Bytes:
        """Map stored ``ids`` (H, W) to train ids."""
        return np.asarray(cv2.LUT(ids, self.lut), np.uint8)  # several times faster than indexing


@dataclass(frozen=True, eq=False)
class ColorTable:
    """Mapping of the colours of label pictures to train ids.

    Attributes:
        codes: int32 (n,), the colours as 24-bit numbers, sorted.
        trains: uint8 (n,), the train id of each.
    """

    codes: NDArray[np.int32]
    trains: Bytes

    @classmethod
    def of(cls, colors: Mapping[Color, int]) -> ColorTable:
        """Return the table of the mapping ``colors`` (RGB to train id); all other colours are unknown."""
        entries = sorted((red << 16 | green << 8 | blue, train) for (red, green, blue), train in colors.items())
        codes, trains = zip(*entries, strict=True)
        return cls(np.array(codes, np.int32), np.array(trains, np.uint8))

    def train_ids(self, pixels: Bytes) -> tuple[Bytes, Color | None]:
        """Map colours (H, W, 3) to train ids (H, W); also return the first colour without one, if any."""
        found = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
        at = np.searchsorted(self.codes, found).clip(max=len(self.codes) - 1)
        unknown = found[self.codes[at] != found]
        code = int(unknown[0]) if len(unknown) else None
        return self.trains[at], None if code is None else (code >> 16, code >> 8 & 255, code & 255)


@cache
def color_table(name: str) -> ColorTable:
    """Return the table of the colours ``name`` of ``labels.json``, for example ``"camvid_colors"``."""
    return ColorTable.of({tuple(entry["rgb"]): entry["id"] for entry in FACTS[name]["classes"].values()})


def set_table(labels: LabelSet) -> LabelTable:
    """Return the table of a label set's own ids."""
    return LabelTable.of(labels.train_ids())


@cache
def table(name: str) -> LabelTable:
    """Return the table ``name`` of ``labels.json``, for example ``"cityscapes_label_ids"``."""
    return LabelTable.of({int(stored): train for stored, train in FACTS["tables"][name]["ids"].items()})


def lut(name: str) -> Bytes:
    """Return the look-up table, uint8 (256,), of the table ``name``; unknown ids map to 255."""
    return table(name).lut


def cityscapes_table(name: str) -> LabelTable:
    """Return the table of a file or folder whose ``name`` ends in ``labelIds`` or ``labelTrainIds``, in any case."""
    return table("train_ids" if name.lower().removesuffix(".png").endswith("labeltrainids") else "cityscapes_label_ids")


def camvid_to_cityscapes(label: Bytes) -> Bytes:
    """Map CamVid train ids (0-10, 255) of any shape to Cityscapes train ids, for models trained on Cityscapes."""
    return lut("camvid_to_cityscapes")[label]


def colorize(label: Bytes, colors: tuple[Color, ...]) -> Bytes:
    """Return train ids (H, W) as RGB colours (H, W, 3). Ids without a colour, such as 255, are black."""
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colors)] = colors
    return palette[label]
