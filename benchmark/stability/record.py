"""Records of stability measurements, sealed and checked like the records of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, model_validator

from benchmark.common.atomic import write_file, writing
from benchmark.records.seal import sealed
from benchmark.records.store import STABILITY, unsealed

Estimator = Literal["per-sample", "per-batch", "variational"]
Criterion = Literal["f", "delta-f", "drf"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Agreement(_Model):
    """Agreement of two estimates.

    Attributes:
        overlap: fraction of the weights selected by one estimate that the other selects too.
        evaluations: gradients of single images in each estimate.
    """

    overlap: Fraction
    evaluations: Count


class Point(_Model):
    """Two estimates with the same number of images.

    Attributes:
        images: number of images in each estimate.
        common: source frames used in both, with different crops; 0 if the source has enough frames.
        seconds, cpu_seconds: time of one estimate on x and x', mean of the two, without loading and selection.
        agreement: by criterion.
    """

    images: Count
    common: Annotated[int, Field(ge=0)]
    seconds: Seconds
    cpu_seconds: Seconds
    agreement: dict[Criterion, Agreement]


class TargetOverlap(_Model):
    """How far weights selected on the source are those with the largest F on a target's own images and labels.

    Attributes:
        itself: overlap of two selections by F on disjoint images of the target: what can be reached at most.
        source: overlap of that selection with the one on the source, by criterion of the latter.
    """

    itself: Fraction
    source: dict[Criterion, Fraction]


class Stability(_Model):
    """One seed's measurement.

    Attributes:
        protocol, protocol_fields, fingerprint, data_hash, batches_hash, decoder_hash, backbone, weights_hash: as in
            :class:`benchmark.records.Record`.
        warm_hash: hash of the decoder's weights after ``warmup`` iterations, at which every estimate is computed.
        settings: FisherTune's hyperparameters; each estimate changes only the estimator and the criterion.
        candidates: number of weights to select from.
        chosen: number of weights selected.
        frames: number of source frames.
        curves: by estimator, by increasing number of images.
        targets: by target, estimated per sample from the largest number of images; without targets that are scored in
            other classes than those trained on, and empty in older records.
    """

    schema_version: Literal[1] = 1
    kind: Literal["stability"] = "stability"
    protocol: str
    protocol_fields: dict[str, JsonValue]
    fingerprint: str
    data_hash: str
    batches_hash: str
    decoder_hash: str
    warm_hash: str
    warmup: Annotated[int, Field(ge=0)]
    backbone: str
    weights_hash: str
    settings: dict[str, JsonValue]
    seed: int
    candidates: Count
    chosen: Count
    frames: Count
    curves: dict[Estimator, tuple[Point, ...]]
    targets: dict[str, TargetOverlap] = {}
    seconds: dict[str, Seconds]
    cpu_seconds: Seconds
    versions: dict[str, str]
    commit: str | None
    machine: dict[str, JsonValue]
    started: AwareDatetime
    finished: AwareDatetime
    digests: dict[str, str] = {}
    checksum: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Stability:
        if self.chosen > self.candidates:
            raise ValueError(f"chosen: {self.chosen} of {self.candidates} candidates")
        if not self.curves:
            raise ValueError("curves: none")
        for name, points in self.curves.items():
            images = [point.images for point in points]
            if not images or images != sorted(set(images)) or images != list(self.images):
                raise ValueError(f"curves.{name}: images must increase, and be the same for every estimator")
        return self

    @property
    def images(self) -> tuple[int, ...]:
        """The numbers of images."""
        return tuple(point.images for point in next(iter(self.curves.values())))

    @property
    def chance(self) -> float:
        """The expected overlap of two random selections."""
        return self.chosen / self.candidates


def place_of(root: Path, protocol: str, backbone: str, seed: int) -> Path:
    """Return the path of one seed's record."""
    return Path(root) / "stability" / protocol / backbone / f"seed{seed}{STABILITY}"


def write(record: Stability, path: Path) -> None:
    """Write a record atomically.

    Raises:
        UserError: no permission or no space.
    """
    with writing(path):
        write_file(path, sealed(record.model_dump(mode="json")))


def read(path: Path) -> Stability:
    """Read and check a record.

    Raises:
        UserError: unreadable, truncated, edited, or not a stability record.
    """
    return unsealed(path, Stability)
