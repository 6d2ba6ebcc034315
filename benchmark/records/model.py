"""The fields of a record and their validation."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import (
    AfterValidator,
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
"""Key of the held-out source images among the confusion matrices; no target may have this name."""
TOLERANCE = 1e-9
CONTROLS = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of control and format characters, surrogates and separators of lines."""
LONGEST = 200
"""Maximum length of a folder name in bytes; file systems allow 255."""
SECTIONS: dict[str, tuple[type, ...]] = {
    "source": (dict, list), "validation": (dict,), "targets": (dict,), "iterations": (int,), "decoder": (dict,),
    "vfm": (dict,),
}  # fmt: skip
"""Protocol fields that tables, figures and cards read, with their types."""
REQUIRED = ("data_hash", "batches_hash", "decoder_hash", "weights_hash", "trainable", "source", "targets")
"""Fields of a finished run; :data:`OF_CHECKPOINT`: of an evaluated checkpoint."""
OF_CHECKPOINT = ("data_hash", "weights_hash", "targets")


def _finite(value: Any) -> Any:
    """Replace a non-finite loss by None: JSON has neither infinity nor NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(text: str) -> str:
    """Return a text for one line of a table.

    Raises:
        ValueError: it has line breaks, or characters that control a terminal or cannot be encoded.
    """
    if any(unicodedata.category(char) in CONTROLS for char in text):
        raise ValueError("has control characters")
    return text


Text = Annotated[str, AfterValidator(_plain)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Loss = Annotated[float | None, BeforeValidator(_finite)]
Time = Annotated[
    AwareDatetime,
    Field(ge=datetime(1970, 1, 2, tzinfo=timezone.utc), le=datetime(3000, 1, 1, tzinfo=timezone.utc)),
]
"""In a range that every system converts to local time."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Score(_Model):
    """mIoU and per-class IoU (fractions) over the images of a domain; IoU is None for an absent class."""

    miou: Fraction
    iou: tuple[Fraction | None, ...]
    images: Annotated[int, Field(ge=1)]

    @classmethod
    def of(cls, confusion: npt.NDArray[Any]) -> Score:
        """Return the score of per-image confusion matrices: (images, C, C) pixel counts, [truth, prediction].

        Raises:
            ValueError: no images or no labelled pixels.
        """
        total = confusion.sum(0, dtype=np.int64)
        each = [None if math.isnan(value) else float(value) for value in statistics.iou(total)]
        return cls(miou=float(statistics.miou(total)), iou=tuple(each), images=len(confusion))


class Trainable(_Model):
    """Number of trainable values.

    Attributes:
        backbone: those of the method that get a gradient, in the backbone and in added modules; in older records also
            the others.
        decoder: those of the decoder.
        unreached: those of the method that get no gradient with this decoder; 0 in older records.
    """

    backbone: Count
    decoder: Count
    unreached: Count = 0


class Evaluation(_Model):
    """One evaluation during training, mIoU as fractions; ``average`` is over the targets."""

    iteration: Count
    average: Fraction
    targets: dict[str, Fraction]
    source: Fraction | None = None


class ScoredIn(_Model):
    """The classes of a target that is scored in others than those trained on.

    Attributes:
        labels: name of the label set.
        classes: their names, in the order of ``iou``.
        excluded: those without a counterpart among the classes trained on, whose pixels are ignored.
        wrong: classes trained on without a counterpart here: predicting one is wrong everywhere.
    """

    labels: Text
    classes: tuple[Text, ...]
    excluded: tuple[Text, ...] = ()
    wrong: tuple[Text, ...] = ()


class Segment(_Model):
    """A part of a run that was executed under conditions of its own.

    Attributes:
        first: number of steps that were done before it.
        commit, versions, machine: as of the record.
    """

    first: Count
    commit: Text | None = None
    versions: dict[Text, Text] = {}
    machine: dict[str, JsonValue] = {}


class Sidecar(_Model):
    """A file in the folder of the record: its name and its hash."""

    file: Annotated[str, Field(pattern=r"^seed\d+(\.[a-z]+)+$")]
    sha256: str


class Checkpoint(_Model):
    """The file of a released checkpoint that was evaluated without training anything.

    Attributes:
        file: its name.
        sha256: its hash.
        method: the registered method that it was taken for.
        whole: whether it contains the backbone's own weights, not just adapter and head.
        used: number of its tensors in the model.
        ignored: names of its other tensors, each with the reason.
    """

    file: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    method: str
    whole: bool
    used: Annotated[int, Field(ge=1)]
    ignored: dict[str, str] = {}


class Record(_Model):
    """The record of one run. Sidecars, ``digests`` and ``checksum`` are filled in when it is written.

    Attributes:
        protocol: its name, with the variant if any (``streets@quick``).
        protocol_fields: the resolved protocol, JSON-ready.
        fingerprint: hash of ``protocol_fields``.
        data_hash: hash of the data files' names and sizes; equal for all seeds.
        contents_hash: hash of their contents; absent from older records.
        data_notes: notes of the readers on the files of each domain, if any.
        batches_hash: hash of the pixels of the first batches; equal for all methods of one seed.
        decoder_hash: hash of the initial weights of the decoder; equal for all methods of one seed.
        classes: their names, in the order of every ``iou`` except for the targets in ``scored_in``.
        scored_in: the classes of targets that are scored in others; absent from older records.
        weights_hash: hash of the pre-trained weights of the backbone.
        vfm: timm's name and options of the backbone, its out indices (key ``taps``), the mean and standard deviation
            that normalise its input, and the origin of its weights, with commit and hash; empty in older records.
        method: registered name, with the given hyperparameters if any (``lora[rank=4]``).
        label: as printed in tables.
        settings: the resolved hyperparameters of the method, JSON-ready.
        origins: origin of each hyperparameter's value.
        state: a finished run has scores; a failed one has an ``error``.
        losses: (iteration, losses by name); None for a loss that was not finite.
        source: score of the final iterate on held-out source images.
        targets: score of the final iterate on each target domain, in the order of the protocol.
        average: mean of the targets' mIoU (fraction).
        oracle: the evaluation that was best on the targets; reported separately, never used as the score.
        moved: how many pre-trained values of the backbone differ bitwise after the run; None for a failed run and in
            older records.
        gradient_evaluations: forward and backward passes over one image, by phase; empty in older records.
        second_evaluator: largest mIoU difference to a second evaluator, by its name and version, if one ran.
        seconds: wall time by phase.
        cpu_seconds: CPU time of the run, all threads.
        report: facts reported by the method.
        segments: the parts of a run that was resumed under another commit, version or machine, whose ``commit``,
            ``versions`` and ``machine`` are of the last part; empty for all others.
        warm_up: the run of the same sweep whose decoder warm-up this run continued; None if it trained its own.
        warnings: what makes the scores of a finished run doubtful, a sentence each; absent from older records.
        trained: checksum of the record of the run that was evaluated; None for a run that trained.
        checkpoint: the released checkpoint that was evaluated; None for a run. Its record says nothing about training
            and source images, and its seed is 0.
        confusion: the file with the confusion matrix of every evaluated image.
        examples: the file with predicted class maps of a few images; None in older records.
        delta: the file with the selected weights of the backbone; None if the method does not select single weights,
            and in older records.
        tuned: otherwise, the file with the tensors that the method trained or added; None in older records.
        decoder: the file with the trained decoder; present if ``delta`` or ``tuned`` is.
        digests: a short hash of each field, to name an edited one.
        checksum: SHA-256 of all other fields in canonical JSON.
    """

    schema_version: Literal[1] = 1
    protocol: str
    protocol_fields: dict[str, JsonValue]
    fingerprint: str
    data_hash: str = ""
    contents_hash: str = ""
    data_notes: dict[str, tuple[str, ...]] = {}
    batches_hash: str = ""
    decoder_hash: str = ""
    classes: tuple[Text, ...]
    scored_in: dict[Text, ScoredIn] = {}
    backbone: str
    weights_hash: str = ""
    vfm: dict[str, JsonValue] = {}
    method: str
    label: Text
    settings: dict[str, JsonValue]
    origins: dict[str, Literal["paper", "ours", "search", "given"]]
    seed: Annotated[int, Field(ge=0, lt=1 << 63)]
    state: Literal["finished", "failed"]
    error: str | None = None
    trainable: Trainable | None = None
    losses: tuple[tuple[Count, dict[str, Loss]], ...] = ()
    source: Score | None = None
    targets: dict[Text, Score] = {}
    average: Fraction | None = None
    oracle: Evaluation | None = None
    evaluations: tuple[Evaluation, ...] = ()
    moved: Count | None = None
    gradient_evaluations: dict[str, Count] = {}
    second_evaluator: dict[str, float] = {}
    seconds: dict[str, float] = {}
    cpu_seconds: Annotated[float, Field(ge=0)] = 0.0
    peak_memory_bytes: Count = 0
    versions: dict[Text, Text] = {}
    commit: Text | None = None
    machine: dict[str, JsonValue] = {}
    started: Time
    finished: Time
    report: dict[str, JsonValue] = {}
    segments: tuple[Segment, ...] = ()
    warm_up: str | None = None
    warnings: tuple[Text, ...] = ()
    trained: str | None = None
    checkpoint: Checkpoint | None = None
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
        """Check names and protocol fields, the error of a failed run and the scores of a finished one."""
        for kind in ("protocol", "backbone", "method"):
            if fault := misplaced(kind, getattr(self, kind)):
                raise ValueError(fault)
        for field, kinds in SECTIONS.items():
            if not isinstance(self.protocol_fields.get(field, kinds[0]()), kinds):
                raise ValueError(f"protocol_fields.{field}: wrong type for this field of a protocol")
        if self.state == "failed":
            if not self.error:
                raise ValueError("error: missing from a failed run")
            return self
        for name in REQUIRED if self.checkpoint is None else OF_CHECKPOINT:
            if not getattr(self, name):
                raise ValueError(f"{name}: missing from a finished run")
        if SOURCE in self.targets:
            raise ValueError(f"targets: {SOURCE!r} is reserved, no target may have this name")
        if self.average is None or abs(self.average - mean_miou(self.targets)) > TOLERANCE:
            raise ValueError(f"average: {self.average}, but the mean of the targets is {mean_miou(self.targets)}")
        for domain, score in self.scores().items():
            if len(score.iou) != len(self.classes_of(domain)):
                raise ValueError(
                    f"{domain}: iou has {len(score.iou)} values for {len(self.classes_of(domain))} classes"
                )
        return self

    @property
    def path(self) -> Path | None:
        """The file that the record was read from; None for a new record."""
        return self._path

    @property
    def name(self) -> str:
        """The path of the record below the root, without suffix."""
        return f"{self.protocol}/{self.backbone}/{self.method}/seed{self.seed}"

    def classes_of(self, domain: str) -> tuple[str, ...]:
        """Return the names of the classes in which a domain is scored."""
        return self.scored_in[domain].classes if domain in self.scored_in else self.classes

    def predicted(self, domain: str) -> int:
        """Return the number of columns of a domain's confusion matrices: with merged classes, the last is the rest."""
        return len(self.classes_of(domain)) + (domain in self.scored_in)

    def target_classes(self) -> tuple[str, ...]:
        """Return the names of all classes in which targets are scored, each once, as the first target spells it.

        Names that differ only in case, as CamVid's Sky and IDD-lite's sky, are one class.
        """
        return tuple(self._spellings().values())

    def class_iou(self, domain: str) -> dict[str, float | None]:
        """Return the IoU of each class of a target by its name among :meth:`target_classes`."""
        spelled = self._spellings()
        names = (spelled[name.casefold()] for name in self.classes_of(domain))
        return dict(zip(names, self.targets[domain].iou, strict=True))

    def _spellings(self) -> dict[str, str]:
        """Return the names of the targets' classes without case, and as the first target spells them."""
        spelled: dict[str, str] = {}
        for domain in self.targets:
            for name in self.classes_of(domain):
                spelled.setdefault(name.casefold(), name)
        return spelled

    def scores(self) -> dict[str, Score]:
        """Return all scores by domain, the source first."""
        return ({SOURCE: self.source} if self.source else {}) | self.targets


def misplaced(kind: str, name: str) -> str:
    """Return why the ``name`` of a protocol, backbone or method cannot be a folder name, or an empty string."""
    if not name or name.startswith(".") or any(c in "/\\" or not c.isprintable() for c in name):
        return f"{kind} {name!r} cannot be a folder name; remove slashes, leading dots and control characters"
    if len(name.encode()) > LONGEST:
        return f"{kind} {name[:40]!r}… cannot be a folder name; shorten it to {LONGEST} bytes"
    return ""


def mean_miou(targets: Mapping[str, Score]) -> float:
    """Return the mean of the targets' mIoU."""
    return math.fsum(score.miou for score in targets.values()) / len(targets)
