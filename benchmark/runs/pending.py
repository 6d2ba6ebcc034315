"""Which runs are pending: those without a finished record of the same conditions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from benchmark.common.errors import UserError
from benchmark.common.hashing import sha256_of
from benchmark.records import Record, read
from benchmark.runs.job import Job

REPEAT = "repeat it with --force, or keep it and give another --records folder"


def longest_first(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs in the order in which workers execute them: seed by seed, long runs first.

    A long run that starts last would leave the other workers without work. Long are runs with more passes over images,
    then those that evaluate at their end; others keep their order.
    """
    from benchmark.method import Method  # here, since they import torch
    from benchmark.training.schedule import gradient_evaluations

    def shortness(job: Job) -> tuple[int, bool]:
        method = job.spec.make_method()
        passes = sum(gradient_evaluations(method, job.spec.protocol).values())
        return -passes, type(method).finish is Method.finish

    seeds = dict.fromkeys(job.spec.seed for job in jobs)
    return [job for seed in seeds for job in sorted((each for each in jobs if each.spec.seed == seed), key=shortness)]


def find_pending(jobs: Sequence[Job], force: bool) -> list[Job]:
    """Return the jobs without a finished record; all of them with ``force``.

    Raises:
        UserError: a record is damaged, or was made under other conditions than the job's: another version of the
            protocol, other weights, other hyperparameters.
    """
    if force:
        return list(jobs)
    pending = []
    for job in jobs:
        if not os.path.exists(job.record):  # unlike Path.exists, no error where a name is too long
            pending.append(job)
            continue
        record = read(job.record)
        _require_place(job, record)
        if record.state != "finished":
            pending.append(job)
        else:
            require_conditions(job, record)
    return pending


def _require_place(job: Job, record: Record) -> None:
    """Check that a record belongs to the job whose path it has."""
    spec = job.spec
    expected = {
        "protocol": spec.protocol.name,
        "backbone": spec.backbone,
        "method": spec.method_name,
        "seed": spec.seed,
    }
    for field, wanted in expected.items():
        if (found := getattr(record, field)) != wanted:
            raise UserError(
                f"{job.record}: {field}: the record is of {found}, but its path is that of {wanted}; move it to its "
                "own folder, or repeat the run with --force"
            )
    if record.fingerprint != spec.protocol.fingerprint():
        raise UserError(f"{job.record}: made under another version of protocol {spec.protocol.name}; {REPEAT}")


def require_conditions(job: Job, record: Record) -> None:
    """Check that a finished run had the hyperparameters and weights that a new run would have."""
    spec = job.spec
    for name, value in spec.stated().items():
        # A hyperparameter added by a later version is not in the record; its default is the earlier behaviour.
        if name in record.settings and record.settings[name] != value:
            raise UserError(
                f"{job.record}: made with {name} {record.settings[name]}, but protocol {spec.protocol.name} now sets "
                f"{value}; {REPEAT}"
            )
    if spec.weights is not None:
        origin = str(record.vfm.get("origin", ""))
        if origin and _hash(spec.weights) not in origin:
            raise UserError(f"{job.record}: made with other weights than --weights {spec.weights}: {origin}; {REPEAT}")


@cache
def _hash(weights: Path) -> str:
    """Return the SHA-256 of a weights file, as records state it.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return sha256_of(weights)
    except OSError as error:
        raise UserError(f"{weights}: cannot read weights ({error.strerror or error}); name a file of weights") from None
