"""Qualitative grids: image, label, and what each method predicts and gets wrong, on the images that runs kept."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from benchmark.artifacts.predictions import Bytes, examples, kept
from benchmark.common.errors import UserError
from benchmark.data import location
from benchmark.data.domains import Domain, reader_of
from benchmark.data.labels import IGNORE, Color
from benchmark.protocol import Split
from benchmark.records import SOURCE, Record, confusions
from benchmark.report.pictures import address
from benchmark.tables.notes import spelling

WIDTH = 384
"""Pictures are at most so many pixels wide: two beside each other on a phone at its finest."""
RIGHT, WRONG, UNLABELLED = (236, 236, 236), (213, 94, 0), (150, 150, 150)
"""Of an error map: pale, Okabe and Ito's vermillion, grey."""

NONE = "No run here kept its predictions: these records are from before runs did. To have some: run --force."


@dataclass(frozen=True)
class Shown:
    """One method's prediction of one image: addresses of the map and of its errors, and the share of right pixels."""

    label: str
    prediction: str
    errors: str
    right: str


@dataclass(frozen=True)
class Grid:
    """One image: its domain, its id, addresses of image and label where the data are at hand, the methods."""

    domain: str
    name: str
    image: str
    truth: str
    shown: tuple[Shown, ...]


@dataclass(frozen=True)
class Grids:
    """The grids of one protocol and backbone, the colours of the classes, and what is missing, in sentences."""

    grids: tuple[Grid, ...]
    legend: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]


def build(records: Sequence[Record], data_root: Path | None) -> Grids:
    """Return the grids that these runs allow: of each method's first seed that kept predictions.

    A prediction stands beside a label only where the two make the confusion matrix that the run was scored by.

    Args:
        records: of one protocol and backbone, in order of display.
        data_root: the user's data sets; None looks for rendered ones in the cache.

    Raises:
        UserError: a file beside a record is not its own.
    """
    finished = [record for record in records if record.state == "finished"]
    chosen: dict[str, Record] = {}
    for record in finished:
        if kept(record):
            chosen.setdefault(record.method, record)
    if not chosen:
        return Grids((), (), (NONE if finished else "No run has finished.",))
    without = list(dict.fromkeys(record.label for record in finished if record.method not in chosen))
    remarks = [f"Kept no predictions: {', '.join(without)}."] if without else []
    made = [_Maps(record, *confusions(record), examples(record)) for record in chosen.values()]
    first = made[0].record
    grids: list[Grid] = []
    colors: tuple[Color, ...] = ()
    for name in (SOURCE, *first.targets):
        try:
            split = _split(first, name)
            colors = reader_of(split).colors
            domain = _found(first, split, data_root)
        except UserError as error:
            remarks.append(f"{spelling(name)}: no images and labels at hand ({error}).")
            domain = None
        for place in range(max(len(each.maps.get(name, ())) for each in made)):
            grids.append(_grid(name, place, made, domain, colors, remarks))
    legend = [(name, f"#{bytes(color).hex()}") for name, color in zip(first.classes, colors, strict=False)]
    return Grids(tuple(grids), tuple(legend), (*dict.fromkeys(remarks), f"{_seeds(made)}."))


@dataclass(frozen=True)
class _Maps:
    """A run's confusions and image ids by domain, and what it predicts on the first images of each."""

    record: Record
    matrices: Mapping[str, NDArray[np.int32]]
    ids: Mapping[str, list[str]]
    maps: Mapping[str, list[Bytes]]


def _split(record: Record, name: str) -> Split:
    """Return which images make a domain of the record.

    Raises:
        UserError: its protocol does not say, or names a data set that is not known here.
    """
    targets = record.protocol_fields.get("targets")
    of_targets = targets.get(name) if isinstance(targets, dict) else None
    try:
        return Split.model_validate(record.protocol_fields.get("validation") if name == SOURCE else of_targets)
    except ValidationError:
        raise UserError(f"the records do not say which images make {name}") from None


def _found(record: Record, split: Split, data_root: Path | None) -> Domain:
    """Return the domain's files.

    Raises:
        UserError: they are not there.
    """
    if data_root is None and record.protocol_fields.get("rendered") is None:
        raise UserError("give --data-root")
    place = data_root or location.rendered()
    if not (place / split.dataset).is_dir():
        how = "--data-root has no such folder" if data_root else "render them with: python -m benchmark data render"
        raise UserError(f"{split.dataset}: {how}")
    return Domain.find(split, place)


def _grid(
    name: str, place: int, made: Sequence[_Maps], domain: Domain | None, colors: Sequence[Color], remarks: list[str]
) -> Grid:
    """Return the grid of one image; with a remark, and without the label, if that is not what was scored."""
    able = [each for each in made if len(each.maps.get(name, ())) > place]
    image_id = able[0].ids[name][place]
    image = truth = None
    sample = next((sample for sample in domain.samples if sample.id == image_id), None) if domain else None
    if domain and sample:
        image, truth = domain.reader.read(sample)
    if domain and not (truth is not None and all(_made_by(each, name, place, truth) for each in able)):
        remarks.append(f"{spelling(name)}: the data at hand are not those that the runs were scored on.")
        image = truth = None
    return Grid(
        spelling(name),
        image_id,
        "" if image is None else _photograph(image),
        "" if truth is None else _painted(truth, colors),
        tuple(_shown(each, name, place, truth, colors) for each in able),
    )


def _shown(each: _Maps, name: str, place: int, truth: Bytes | None, colors: Sequence[Color]) -> Shown:
    prediction, matrix = each.maps[name][place], each.matrices[name][place]
    errors = ""
    if truth is not None:
        kind = np.where(truth == IGNORE, 2, prediction != truth).astype(np.uint8)
        errors = _painted(kind, (RIGHT, WRONG, UNLABELLED))
    right = f"{100 * matrix.trace() / matrix.sum():.1f} %" if matrix.any() else ""
    return Shown(each.record.label, _painted(prediction, colors), errors, right)


def _made_by(each: _Maps, name: str, place: int, truth: Bytes) -> bool:
    """Return whether prediction and label make the image's confusion matrix."""
    prediction, matrix = each.maps[name][place], each.matrices[name][place]
    if prediction.shape != truth.shape:
        return False
    valid, classes = truth != IGNORE, len(matrix)
    pairs = truth[valid].astype(np.int64) * classes + prediction[valid]
    return np.array_equal(np.bincount(pairs, minlength=classes**2), matrix.ravel())


def _painted(labels: Bytes, colors: Sequence[Color]) -> str:
    """Return the address of train ids (H, W) in their colours; what has none is black."""
    picture = Image.fromarray(np.ascontiguousarray(labels[:: _step(labels), :: _step(labels)])).convert("P")
    picture.putpalette([channel for color in colors for channel in color] + [0] * (768 - 3 * len(colors)))
    return address("png", _saved(picture, "PNG", optimize=True))


def _photograph(image: Bytes) -> str:
    return address("jpeg", _saved(Image.fromarray(image).reduce(_step(image)), "JPEG", quality=85))


def _step(pixels: Bytes) -> int:
    return -(-pixels.shape[1] // WIDTH)


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _seeds(made: Sequence[_Maps]) -> str:
    """Return in words whose seed is shown."""
    seeds = {each.record.seed for each in made}
    if len(seeds) == 1:
        return f"Runs of seed {seeds.pop()}"
    return "Runs of " + ", ".join(f"{each.record.label} seed {each.record.seed}" for each in made)
