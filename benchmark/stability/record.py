"""What a measurement of stability leaves behind, and where; sealed and checked like a run's record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, model_validator

from benchmark.common.atomic import write_file, writing
from benchmark.records.seal import sealed
from benchmark.records.store import STABILITY, unsealed

Estimator = Literal["per-sample", "per-batch", "variational"]
Criterion = Literal["f", "delta-f", "drf"]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Agreement(_Model):
    """How far two estimates agree.

    Attributes:
        overlap: share of the weights that one chooses which the other chooses too.
        evaluations: single images' gradients in each of the two.
    """

    overlap: Share
    evaluations: Count


class Point(_Model):
    """Two estimates from so many images each.

    Attributes:
        images: in each.
        common: source frames that both have looked at, in other crops; 0 where the source has enough.
        seconds, cpu_seconds: of one estimate on x and x', mean of the two; loading and choosing not counted.
        agreement: by criterion.
    """

    images: Count
    common: Annotated[int, Field(ge=0)]
    seconds: Seconds
    cpu_seconds: Seconds
    agreement: dict[Criterion, Agreement]


class Stability(_Model):
    """One seed's measurement.

    Attributes:
        protocol, protocol_fields, fingerprint, data_hash, batches_hash, decoder_hash, backbone, weights_hash: as in
            :class:`benchmark.records.Record`.
        warm_hash: of the decoder's weights after ``warmup`` iterations, at which every estimate is made.
        settings: FisherTune's, of which each estimate changes the estimator and the criterion alone.
        candidates: weights to choose from.
        chosen: how many are chosen.
        frames: of the source.
        curves: by estimator, in growing numbers of images.
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
                raise ValueError(f"curves.{name}: images must grow, and be the same for every estimator")
        return self

    @property
    def images(self) -> tuple[int, ...]:
        """The numbers of images."""
        return tuple(point.images for point in next(iter(self.curves.values())))

    @property
    def chance(self) -> float:
        """The overlap to expect of two random choices."""
        return self.chosen / self.candidates


def place_of(root: Path, protocol: str, backbone: str, seed: int) -> Path:
    """Return where the record of one seed lies."""
    return Path(root) / "stability" / protocol / backbone / f"seed{seed}{STABILITY}"


def write(record: Stability, path: Path) -> None:
    """Write a record, whole or not at all.

    Raises:
        UserError: no permission or no space.
    """
    with writing(path):
        write_file(path, sealed(record.model_dump(mode="json")))


def read(path: Path) -> Stability:
    """Read a record and check it.

    Raises:
        UserError: unreadable, truncated, edited, or no record of stability.
    """
    return unsealed(path, Stability)
