"""What a record holds, and what has to be true of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PrivateAttr,
    model_validator,
)

from benchmark.common import statistics

SCHEMA_VERSION = 1
SOURCE = "source"
"""The key of the held-out source images among the confusions; no target may bear this name."""
TOLERANCE = 1e-9
LONGEST = 200
"""Bytes of a folder's name; file systems have room for 255."""
SECTIONS: dict[str, tuple[type, ...]] = {
    "source": (dict, list), "validation": (dict,), "targets": (dict,), "iterations": (int,), "decoder": (dict,),
    "vfm": (dict,),
}  # fmt: skip
"""What tables, figures and cards read of a protocol's fields."""
HASHES = ("data_hash", "batches_hash", "decoder_hash", "weights_hash")


def _finite(value: Any) -> Any:
    """Turn a loss that overflowed into None: JSON knows neither infinity nor NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Loss = Annotated[float | None, BeforeValidator(_finite)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Score(_Model):
    """mIoU and per-class IoU (fractions) over a domain's images; IoU is None for a class that is absent."""

    miou: Fraction
    iou: tuple[Fraction | None, ...]
    images: Annotated[int, Field(ge=1)]

    @classmethod
    def of(cls, confusion: npt.NDArray[Any]) -> Score:
        """Return the score of per-image confusions: (images, C, C) pixel counts by [truth, prediction].

        Raises:
            ValueError: no image, or no labelled pixel in any.
        """
        total = confusion.sum(0, dtype=np.int64)
        each = [None if math.isnan(value) else float(value) for value in statistics.iou(total)]
        return cls(miou=float(statistics.miou(total)), iou=tuple(each), images=len(confusion))


class Trainable(_Model):
    """How many values train on either side."""

    backbone: Count
    decoder: Count


class Evaluation(_Model):
    """One scoring during training, mIoU as fractions; ``average`` is the targets'."""

    iteration: Count
    average: Fraction
    targets: dict[str, Fraction]
    source: Fraction | None = None


class Sidecar(_Model):
    """A file beside the record, by name and content."""

    file: Annotated[str, Field(pattern=r"^seed\d+(\.[a-z]+)+$")]
    sha256: str


class Record(_Model):
    """All that is known of one run. Sidecars, ``digests`` and ``checksum`` are filled when it is written.

    Attributes:
        protocol: its name, with the variant if any (``streets@quick``).
        protocol_fields: the protocol as resolved, JSON-ready.
        fingerprint: hash of ``protocol_fields``.
        data_hash: of the data's files; the same for every seed.
        data_notes: what readers had to say about the files of each domain, where anything.
        batches_hash: of the first batches' pixels; the same for every method of one seed.
        decoder_hash: of the decoder's initial weights; the same for every method of one seed.
        classes: their names, in the order of every score's ``iou``.
        weights_hash: of the backbone's pre-trained weights.
        vfm: timm's name and options of the backbone, its taps, the mean and standard deviation of what it is fed, and
            where its weights are from, with commit and hash; empty in records from before it was noted.
        method: registered name, with the given settings if any (``lora[rank=4]``).
        label: as printed in tables.
        settings: the method's, as resolved, JSON-ready.
        origins: of every setting's value.
        state: a finished run has scores; a failed one says in ``error`` what stopped it.
        losses: (iteration, losses by name); None stands for a loss that was not finite.
        source: the last iterate's score on held-out source images.
        targets: the last iterate's score on each target domain, in the protocol's order.
        average: mean of the targets' mIoU (fraction).
        oracle: the evaluation that was best on the targets: stated apart, never in the score's place.
        moved: how many of the backbone's pre-trained values the run has changed, bit for bit; None for a failed run,
            and in records from before they were counted.
        second_evaluator: of one that confirmed every mIoU, by name and version, its largest difference from ours.
        seconds: wall time by phase.
        cpu_seconds: processor time of the run, all threads.
        report: what the method itself has to say.
        confusion: the file of every evaluated image's confusion matrix.
        examples: the file of the class maps predicted on a few images; None in records from before they were kept.
        delta: the file of the backbone's chosen weights; None where the method does not choose single weights,
            and in records from before there was one.
        tuned: else the file of the tensors that the method trained or added, whole; None in older records.
        decoder: the file of the decoder trained with them; there where one of the two is.
        digests: a short hash of each field, to name the one that was edited.
        checksum: SHA-256 of all other fields in canonical JSON.
    """

    schema_version: Literal[1] = 1
    protocol: str
    protocol_fields: dict[str, JsonValue]
    fingerprint: str
    data_hash: str = ""
    data_notes: dict[str, tuple[str, ...]] = {}
    batches_hash: str = ""
    decoder_hash: str = ""
    classes: tuple[str, ...]
    backbone: str
    weights_hash: str = ""
    vfm: dict[str, JsonValue] = {}
    method: str
    label: str
    settings: dict[str, JsonValue]
    origins: dict[str, Literal["paper", "ours", "search", "given"]]
    seed: int
    state: Literal["finished", "failed"]
    error: str | None = None
    trainable: Trainable | None = None
    losses: tuple[tuple[Count, dict[str, Loss]], ...] = ()
    source: Score | None = None
    targets: dict[str, Score] = {}
    average: Fraction | None = None
    oracle: Evaluation | None = None
    evaluations: tuple[Evaluation, ...] = ()
    moved: Count | None = None
    second_evaluator: dict[str, float] = {}
    seconds: dict[str, float] = {}
    cpu_seconds: Annotated[float, Field(ge=0)] = 0.0
    peak_memory_bytes: Count = 0
    versions: dict[str, str] = {}
    commit: str | None = None
    machine: dict[str, JsonValue] = {}
    started: AwareDatetime
    finished: AwareDatetime
    report: dict[str, JsonValue] = {}
    confusion: Sidecar | None = None
    examples: Sidecar | None = None
    delta: Sidecar | None = None
    tuned: Sidecar | None = None
    decoder: Sidecar | None = None
    digests: dict[str, str] = {}
    checksum: str = ""
    _path: Path | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _whole(self) -> Record:
        """Hold every run to its place, a failed one to its reason, a finished one to its scores."""
        for kind in ("protocol", "backbone", "method"):
            if fault := misplaced(kind, getattr(self, kind)):
                raise ValueError(fault)
        for field, kinds in SECTIONS.items():
            if not isinstance(self.protocol_fields.get(field, kinds[0]()), kinds):
                raise ValueError(f"protocol_fields.{field}: not what a protocol holds")
        if self.state == "failed":
            if not self.error:
                raise ValueError("error: a failed run says what stopped it")
            return self
        for name in (*HASHES, "trainable", "source", "targets"):
            if not getattr(self, name):
                raise ValueError(f"{name}: missing from a finished run")
        if SOURCE in self.targets:
            raise ValueError(f"targets: no target may be called {SOURCE!r}")
        if self.average is None or abs(self.average - mean_miou(self.targets)) > TOLERANCE:
            raise ValueError(f"average: {self.average}, where the targets' mean is {mean_miou(self.targets)}")
        for domain, score in self.scores().items():
            if len(score.iou) != len(self.classes):
                raise ValueError(f"{domain}: {len(score.iou)} classes have an IoU, {len(self.classes)} a name")
        return self

    @property
    def path(self) -> Path | None:
        """Where the record was read from; None for one that was just made."""
        return self._path

    @property
    def name(self) -> str:
        """The record's place below the root, without its ending: the words to call it by."""
        return f"{self.protocol}/{self.backbone}/{self.method}/seed{self.seed}"

    def scores(self) -> dict[str, Score]:
        """Return every score by its domain's key, the source's first."""
        return ({SOURCE: self.source} if self.source else {}) | self.targets


def misplaced(kind: str, name: str) -> str:
    """Return why a protocol's, backbone's or method's ``name`` cannot be a folder's of records; empty if it can."""
    if not name or name.startswith(".") or any(c in "/\\" or not c.isprintable() for c in name):
        return f"{kind} {name!r} cannot name a folder of records; leave out slashes"
    if len(name.encode()) > LONGEST:
        return f"{kind} {name[:40]!r}… cannot name a folder of records; make it shorter, {LONGEST} bytes at most"
    return ""


def mean_miou(targets: Mapping[str, Score]) -> float:
    """Return the mean of the targets' mIoU."""
    return math.fsum(score.miou for score in targets.values()) / len(targets)
