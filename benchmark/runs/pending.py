"""Which runs are due: those without a finished record of the very same conditions."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from benchmark.common.errors import UserError
from benchmark.records import Record, read
from benchmark.runs.job import Job

REPEAT = "repeat it with --force, or keep it and give another --records folder"


def find_pending(jobs: Sequence[Job], force: bool) -> list[Job]:
    """Return the jobs without a finished record; all of them with ``force``.

    Raises:
        UserError: a record is damaged, or was made under other conditions than its name says: another version of the
            protocol, other weights than the given ones, other settings than the protocol states.
    """
    if force:
        return list(jobs)
    waiting = []
    for job in jobs:
        if not os.path.exists(job.record):  # unlike Path.exists, no error where a name is too long
            waiting.append(job)
            continue
        record = read(job.record)
        _require_place(job, record)
        if record.state != "finished":
            waiting.append(job)
        else:
            _require_conditions(job, record)
    return waiting


def _require_place(job: Job, record: Record) -> None:
    """See that a record is of what its place says."""
    for field, wanted in (
        ("protocol", job.protocol.name), ("backbone", job.backbone), ("method", job.method_name), ("seed", job.seed)
    ):  # fmt: skip
        if (found := getattr(record, field)) != wanted:
            raise UserError(
                f"{job.record}: {field}: the record is one of {found}, and lies where that of {wanted} belongs; "
                "move it to its own folder, or repeat the run with --force"
            )
    if record.fingerprint != job.protocol.fingerprint():
        raise UserError(f"{job.record}: made under another version of protocol {job.protocol.name}; {REPEAT}")


def _require_conditions(job: Job, record: Record) -> None:
    """See that a finished run had the settings and weights that a new one would have."""
    for name, value in job.stated().items():
        # One that a later version brought in is not in the record: its default is what the method did before.
        if name in record.settings and record.settings[name] != value:
            raise UserError(
                f"{job.record}: made with {name} {record.settings[name]}, where protocol {job.protocol.name} now has "
                f"{value}; {REPEAT}"
            )
    if job.weights is not None:
        origin = str(record.vfm.get("origin", ""))
        if origin and _hash(job.weights) not in origin:
            raise UserError(f"{job.record}: made with other weights than --weights {job.weights}: {origin}; {REPEAT}")


@cache
def _hash(weights: Path) -> str:
    """Return the SHA-256 of a file of weights, as records tell it.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with weights.open("rb") as file:
            digest = hashlib.sha256()
            while part := file.read(1 << 20):
                digest.update(part)
            return digest.hexdigest()
    except OSError as error:
        raise UserError(
            f"{weights}: cannot read weights ({error.strerror or error}); name a safetensors file"
        ) from None
