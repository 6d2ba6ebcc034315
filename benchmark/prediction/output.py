"""The files of predictions: class maps, overlays, a table of confidences, an archive for a test server."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from benchmark.common import reading, strict_json
from benchmark.common.atomic import free, write_by, write_file, writing
from benchmark.common.errors import UserError, printable
from benchmark.data.labels import Bytes, lut
from benchmark.labelsets import LabelSet
from benchmark.prediction.inputs import Picture
from benchmark.prediction.overlay import LARGEST
from benchmark.prediction.stream import Prediction

Ids = Literal["train", "cityscapes", "acdc"]
CLASSES, OVERLAYS, TABLE, ARCHIVE, MADE_BY = (
    "classes",
    "overlays",
    "confidence.csv",
    "submission.zip",
    "predictions.json",
)
ANOTHER = "give another --out"
ACDC = "labelTrainIds"
"""The folder in the archive for the test servers of ACDC and Dark Zurich."""
MAP_BYTES, OVERLAY_BYTES, BLOCK = 0.1, 2, 8192
"""Generous estimates: bytes per pixel of a class map and of an overlay, and per file."""


def id_table(ids: Ids, labels: LabelSet) -> Bytes:
    """Return the id to write of each train id, uint8 (256,).

    Cityscapes' test server takes label ids. Those of ACDC and Dark Zurich take train ids.

    Raises:
        UserError: the model predicts other classes than the 19 of Cityscapes, and ``ids`` is not ``train``.
    """
    table = np.arange(256, dtype=np.uint8)
    if ids == "train":
        return table
    if labels.name != "cityscapes":
        raise UserError(f"--ids {ids}: the run predicts the classes of {labels.name!r}, not those of Cityscapes")
    if ids == "cityscapes":
        trains = lut("cityscapes_label_ids")
        table[: len(labels.classes)] = [np.flatnonzero(trains == train)[0] for train in range(len(labels.classes))]
    return table


@dataclass(frozen=True)
class Row:
    """Size and confidences of a class map, which its file contains."""

    width: int
    height: int
    confidence: float
    entropy: float


@dataclass(frozen=True)
class Output:
    """The folder of one run's predictions.

    Attributes:
        folder: the folder.
        overlays: whether to draw overlays.
    """

    folder: Path
    overlays: bool

    def class_map(self, picture: Picture) -> Path:
        """Return the file of an image's class map."""
        return self.folder / CLASSES / f"{picture.stem}.png"

    def overlay(self, picture: Picture) -> Path:
        """Return the file of an image's overlay."""
        return self.folder / OVERLAYS / f"{picture.stem}.png"

    def exists(self, picture: Picture) -> bool:
        """Return whether an earlier command has written all files of an image."""
        return self.row(picture) is not None and (not self.overlays or self.overlay(picture).is_file())

    def row(self, picture: Picture) -> Row | None:
        """Return the facts about a class map from its file; None if there is none."""
        try:
            with Image.open(self.class_map(picture), formats=("PNG",)) as found:
                facts = found.info
                return Row(*found.size, float(facts["confidence"]), float(facts["entropy"]))
        except (OSError, KeyError, ValueError, SyntaxError):
            return None

    def sign(self, made_by: Mapping[str, Any]) -> None:
        """Write what the predictions are made by, so that they are not mixed with others.

        Raises:
            UserError: the folder has predictions that were made otherwise, or cannot be written.
        """
        path = self.folder / MADE_BY
        try:
            known = strict_json.load(reading.read_text(path)) if reading.present(path) else None
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error}); {ANOTHER}") from None
        if known is not None and known != dict(made_by):
            other = known if isinstance(known, dict) else {}
            field = next((name for name in made_by if other.get(name) != made_by[name]), "fields")
            there, here = other.get(field), made_by.get(field)
            raise UserError(f"{path}: {field} of the predictions there is {there!r}, here {here!r}; {ANOTHER}")
        if known is None:
            self._put(path, (json.dumps(dict(made_by), indent=1) + "\n").encode())

    def write(self, picture: Picture, found: Prediction, ids: Bytes, drawn: Image.Image | None) -> None:
        """Write the files of an image, each whole or not at all, the class map last.

        Raises:
            UserError: no space or no permission.
        """
        if drawn is not None:
            self._put(self.overlay(picture), _png(drawn))
        facts = PngInfo()
        facts.add_text("confidence", repr(found.confidence))
        facts.add_text("entropy", repr(found.entropy))
        self._put(
            self.class_map(picture), _png(Image.fromarray(np.asarray(cv2.LUT(found.classes, ids), np.uint8)), facts)
        )

    def table(self, pictures: Sequence[Picture]) -> Path:
        """Write the confidences of the images whose class maps exist; return the path.

        Raises:
            UserError: no space or no permission.
        """
        text = io.StringIO()
        lines = csv.writer(text)
        lines.writerow(("image", "width", "height", "confidence", "entropy"))
        for picture in pictures:
            if (row := self.row(picture)) is not None:
                lines.writerow((picture.name, row.width, row.height, f"{row.confidence:.6f}", f"{row.entropy:.6f}"))
        self._put(self.folder / TABLE, text.getvalue().encode("utf-8", "surrogateescape"))
        return self.folder / TABLE

    def archive(self, pictures: Sequence[Picture], ids: Ids) -> Path:
        """Write the class maps that exist to an archive; return the path.

        Raises:
            UserError: no space or no permission.
        """
        path = self.folder / ARCHIVE
        names = archived(pictures, ids)

        def fill(file: Any) -> None:
            with zipfile.ZipFile(file, "w") as archive:
                for picture in pictures:
                    if (place := self.class_map(picture)).is_file():
                        archive.writestr(zipfile.ZipInfo(names[picture]), place.read_bytes())

        with writing(path, ANOTHER):
            write_by(path, fill)
        return path

    def require_space(self, pictures: Sequence[Picture], *, archive: bool) -> None:
        """Check that the predictions of ``pictures`` fit on the disk, by a generous estimate.

        Raises:
            UserError: they do not.
        """
        needed = 0.0
        for picture in pictures:
            needed += (MAP_BYTES * picture.pixels + BLOCK) * (2 if archive else 1)
            needed += (OVERLAY_BYTES * min(picture.pixels, LARGEST**2) + BLOCK) if self.overlays else 0
        left = free(self.folder)
        if needed > left:
            raise UserError(
                f"{self.folder}: {left / 1e6:.1f} MB are free, {len(pictures)} predictions need about "
                f"{needed / 1e6:.1f} MB; free some space, or {ANOTHER}"
            )

    def _put(self, path: Path, content: bytes) -> None:
        with writing(path, ANOTHER):
            write_file(path, content)


def archived(pictures: Sequence[Picture], ids: Ids) -> dict[Picture, str]:
    """Return the name of each class map in the archive: as in the folder, or for ACDC all in one folder.

    Raises:
        UserError: two would have the same name.
    """
    names: dict[str, Picture] = {}
    for picture in pictures:
        name = f"{ACDC}/{picture.stem.rpartition('/')[2]}.png" if ids == "acdc" else f"{picture.stem}.png"
        if (twin := names.setdefault(name, picture)) is not picture:
            raise UserError(f"--submission: {twin.path} and {picture.path} have the same name; archive them separately")
    return {picture: printable(name) for name, picture in names.items()}


def _png(picture: Image.Image, facts: PngInfo | None = None) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=facts)
    return buffer.getvalue()
