"""Qualitative grids: image, label, and each method's prediction and errors, for saved predictions."""

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
from benchmark.protocol import Protocol, Split
from benchmark.records import SOURCE, Record, confusions
from benchmark.report.pictures import address
from benchmark.tables.notes import spelling

WIDTH = 384
"""Maximum width of a picture in pixels: two fit side by side on a high-resolution phone."""
RIGHT, WRONG, UNLABELLED = (236, 236, 236), (213, 94, 0), (150, 150, 150)
"""Colours of an error map: light grey, Okabe and Ito's vermillion, grey."""

NO_COUNTERPART = "no counterpart in the label set"
NONE = "No saved predictions: to save some, run again with --force."


@dataclass(frozen=True)
class Shown:
    """One method's prediction for one image: URLs of the prediction and the error map, and the pixel accuracy."""

    label: str
    prediction: str
    errors: str
    right: str


@dataclass(frozen=True)
class Grid:
    """One image: its domain and id, URLs of image and label (empty without the data), and the predictions."""

    domain: str
    name: str
    image: str
    truth: str
    shown: tuple[Shown, ...]


@dataclass(frozen=True)
class Grids:
    """The grids of one protocol and backbone, the class colours, and remarks on missing data."""

    grids: tuple[Grid, ...]
    legend: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]


def build(records: Sequence[Record], data_root: Path | None) -> Grids:
    """Return the grids of each method's first seed with saved predictions.

    A label is shown only if it reproduces, with the prediction, the confusion matrix in the record.

    Args:
        records: records of one protocol and backbone, in display order.
        data_root: the user's datasets; rendered ones may be in the cache.

    Raises:
        UserError: a file next to a record does not belong to it.
    """
    finished = [record for record in records if record.state == "finished"]
    chosen: dict[str, Record] = {}
    for record in finished:
        if kept(record):
            chosen.setdefault(record.method, record)
    if not chosen:
        return Grids((), (), (NONE if finished else "No finished run.",))
    without = list(dict.fromkeys(record.label for record in finished if record.method not in chosen))
    remarks = [f"No saved predictions: {', '.join(without)}."] if without else []
    made = [_Maps(record, *confusions(record), examples(record)) for record in chosen.values()]
    first = made[0].record
    grids: list[Grid] = []
    colors: tuple[Color, ...] = ()
    protocol, legends = _protocol(first), dict[tuple[str, ...], tuple[Color, ...]]()
    for name in (SOURCE, *first.targets):
        try:
            split = _split(first, name)
            colors = protocol.label_set(split.scored_in).colors if protocol else reader_of(split).colors
            domain = _found(split, protocol, data_root)
        except UserError as error:
            remarks.append(f"{spelling(name)}: images and labels not found ({error}).")
            domain = None
        legends.setdefault(first.classes_of(name), colors)
        for place in range(max(len(each.maps.get(name, ())) for each in made)):
            grids.append(_grid(name, place, made, domain, colors, remarks))
    legend = dict.fromkeys(
        (name, f"#{bytes(color).hex()}")
        for classes, colors in legends.items()
        for name, color in zip(classes, colors, strict=False)
    )
    rest = ((NO_COUNTERPART, "#000000"),) if first.scored_in else ()
    return Grids(tuple(grids), (*legend, *rest), (*dict.fromkeys(remarks), f"{_seeds(made)}."))


@dataclass(frozen=True)
class _Maps:
    """A run's confusion matrices and image ids by domain, and its saved predictions."""

    record: Record
    matrices: Mapping[str, NDArray[np.int32]]
    ids: Mapping[str, list[str]]
    maps: Mapping[str, list[Bytes]]


def _split(record: Record, name: str) -> Split:
    """Return the split that defines a domain of the record.

    Raises:
        UserError: the protocol in the record has no such split, or names an unknown dataset.
    """
    targets = record.protocol_fields.get("targets")
    of_targets = targets.get(name) if isinstance(targets, dict) else None
    try:
        return Split.model_validate(record.protocol_fields.get("validation") if name == SOURCE else of_targets)
    except ValidationError:
        raise UserError(f"the records do not define the images of {name}") from None


def _protocol(record: Record) -> Protocol | None:
    """Return the protocol of the record; None if its fields are not those of a protocol."""
    try:
        return Protocol.of(record.protocol_fields, record.protocol, record.backbone)
    except ValidationError:
        return None


def _found(split: Split, protocol: Protocol | None, data_root: Path | None) -> Domain:
    """Return the domain's files.

    Raises:
        UserError: they are missing.
    """
    if not location.folder_of(split.dataset, data_root).is_dir():
        rendered = location.in_cache(split.dataset, data_root)
        how = "render them with: python -m benchmark data render" if rendered else "--data-root has no such folder"
        raise UserError(f"{split.dataset}: {how}")
    return Domain.find(split, data_root, protocol)


def _grid(
    name: str, place: int, made: Sequence[_Maps], domain: Domain | None, colors: Sequence[Color], remarks: list[str]
) -> Grid:
    """Return the grid of one image; if the data are not those of the evaluation, omit the label and add a remark."""
    able = [each for each in made if len(each.maps.get(name, ())) > place]
    image_id = able[0].ids[name][place]
    image = truth = None
    sample = next((sample for sample in domain.samples if sample.id == image_id), None) if domain else None
    if domain and sample:
        image, truth = domain.reader.read(sample)
    if domain and not (truth is not None and all(_made_by(each, name, place, truth) for each in able)):
        remarks.append(f"{spelling(name)}: the data found differ from those that the runs were evaluated on.")
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
    """Return whether prediction and label give the image's confusion matrix."""
    prediction, matrix = each.maps[name][place], each.matrices[name][place]
    if prediction.shape != truth.shape:
        return False
    valid = truth != IGNORE
    pairs = truth[valid].astype(np.int64) * matrix.shape[1] + prediction[valid]
    return np.array_equal(np.bincount(pairs, minlength=matrix.size), matrix.ravel())


def _painted(labels: Bytes, colors: Sequence[Color]) -> str:
    """Return the URL of train ids (H, W) in their class colours; ids without a colour are black."""
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
    """Return a sentence that names the runs shown."""
    seeds = {each.record.seed for each in made}
    if len(seeds) == 1:
        return f"Runs of seed {seeds.pop()}"
    return "Runs of " + ", ".join(f"{each.record.label} seed {each.record.seed}" for each in made)
