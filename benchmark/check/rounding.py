"""The effect of rounding on the reference runs of a check: measured once, saved next to their records.

The same runs are repeated with two threads and narrower vector instructions, as on another CPU. The file is YAML, not a
record, since the repetitions are not results.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.common import atomic, machine, reading
from benchmark.common.atomic import writing
from benchmark.common.errors import UserError
from benchmark.records import Record

FILE = "rounding.yaml"
THREADS = 2
ENVIRONMENT = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
"""Read by torch, oneDNN and MKL at start-up; no effect on a CPU without wider instructions."""
UNSEEN = "unseen"
"""Name of the mean over the unseen domains."""

Runs = Mapping[tuple[str, int], Record]
"""Records by method and seed."""
Moved = Mapping[tuple[str, int], Mapping[str, float]]
"""By method and seed: difference of each of :func:`numbers` with different rounding."""


class _Repetition(BaseModel):
    model_config = ConfigDict(extra="forbid")

    checksum: str
    moved: dict[str, float]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    threads: int
    environment: dict[str, str]
    commit: str | None
    runs: dict[str, _Repetition]


def numbers(record: Record) -> dict[str, float]:
    """Return losses and scores of a run by name: each loss, the mIoU of each domain and the unseen mean."""
    found = {
        f"{name} at iteration {step}": math.nan if loss is None else loss
        for step, losses in record.losses
        for name, loss in losses.items()
    }
    found |= {score(domain): each.miou for domain, each in record.scores().items()}
    return found if record.average is None else found | {score(UNSEEN): record.average}


def score(domain: str) -> str:
    """Return the name of a domain's mIoU in :func:`numbers`."""
    return f"mIoU on {domain}"


def write(folder: Path, runs: Runs, repeated: Runs) -> Path:
    """Write the effect of rounding; return the file.

    Args:
        folder: of the reference records.
        runs: the reference records.
        repeated: the same runs with different rounding.

    Raises:
        UserError: a repeated run failed, or the folder cannot be written.
    """
    found = {}
    for key, record in runs.items():
        before, after = numbers(record), numbers(repeated[key])
        if before.keys() != after.keys():
            raise UserError(f"{record.name}: failed when repeated with different rounding: {repeated[key].error}")
        moved = {name: after[name] - value for name, value in before.items()}
        found[record.name] = _Repetition(checksum=record.checksum, moved=moved)
    made = _File(threads=THREADS, environment=ENVIRONMENT, commit=machine.commit(), runs=found)
    path = folder / FILE
    with writing(path, "make its folder writable"):
        atomic.write_file(path, yaml.safe_dump(made.model_dump(), sort_keys=False, width=1000).encode())
    return path


def read(folder: Path, runs: Runs, remedy: str) -> Moved:
    """Return the effect of rounding on each of the reference records.

    Raises:
        UserError: no such file, a damaged one, or one of other records; the message ends with ``remedy``.
    """
    path = folder / FILE
    try:
        made = _File.model_validate(yaml.safe_load(reading.read_text(path)))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}; {remedy}") from None
    except (ValidationError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: damaged ({str(error).splitlines()[0]}); {remedy}") from None
    moved = {}
    for key, record in runs.items():
        found = made.runs.get(record.name)
        if found is None or found.checksum != record.checksum:
            raise UserError(
                f"{path}: runs.{record.name}: {'missing' if found is None else 'of another record'}; {remedy}"
            )
        moved[key] = found.moved
    return moved
