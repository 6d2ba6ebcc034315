"""How long runs take: from records of their method, scaled from records of other methods, or by arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.plan.costs import Cost
from benchmark.records import Record, read
from benchmark.records.store import COMMITTED
from benchmark.runs.job import Job

PEAKS = {"auto": ("bfloat16", 312e12), "float32": ("float32", 19.5e12)}
"""Peak operations per second of an A100, by precision."""
UTILISATION = 0.4
"""Assumed fraction of the peak that training reaches."""


@dataclass(frozen=True)
class Hours:
    """Estimated time of one run.

    Attributes:
        kind: ``GPU`` or ``CPU``: whose hours they are.
        each: number of hours.
        basis: what they are computed from.
    """

    kind: str
    each: float
    basis: str


@dataclass(frozen=True)
class Speed:
    """Operations per hour of recorded runs of one protocol and backbone.

    Attributes:
        kind: as in :class:`Hours`.
        operations: per hour.
        methods: number of methods whose records it is the mean over.
    """

    kind: str
    operations: float
    methods: int


def recorded(job: Job) -> Hours | None:
    """Return the mean over finished runs of the job's method, of any seed; None without one.

    The user's records and the committed ones count; hours of GPUs, if there are any, and else of CPUs.
    """
    made = [record for root in (job.folder, COMMITTED) for record in _records(job, root)]
    unique = {record.seed: record for record in reversed(made)}
    if not unique:
        return None
    on_gpu = [record for record in unique.values() if record.machine.get("accelerator")]
    alike = on_gpu or list(unique.values())  # hours of the two kinds have no mean
    hours = math.fsum(map(_spent, alike)) / len(alike) / 3600
    return Hours("GPU" if on_gpu else "CPU", hours, f"{len(alike)} record{'s' * (len(alike) > 1)}")


def speed(found: Sequence[tuple[Hours | None, Cost]]) -> Speed | None:
    """Return the speed of recorded methods; None without one. If some have hours of GPUs, only these count."""
    known = [(hours, cost) for hours, cost in found if hours is not None]
    kind = "GPU" if any(hours.kind == "GPU" for hours, _ in known) else "CPU"
    alike = [(hours.each, cost) for hours, cost in known if hours.kind == kind and hours.each > 0]
    if not alike:
        return None
    return Speed(kind, sum(_operations(cost) for _, cost in alike) / sum(each for each, _ in alike), len(alike))


def estimated(job: Job, cost: Cost, known: Speed | None) -> Hours:
    """Return the time of a run whose method has no records, at a known speed or at that of an A100."""
    if known is not None:
        return Hours(
            known.kind, _operations(cost) / known.operations, f"{known.methods} other{'s' * (known.methods > 1)}"
        )
    _, peak = PEAKS[job.spec.protocol.precision]
    return Hours("GPU", _operations(cost) / (UTILISATION * peak) / 3600, "arithmetic")


def explained(precision: str) -> str:
    """Return how hours are computed, for the end of a plan."""
    name, peak = PEAKS[precision]
    return (
        "Hours of one run, from records: mean over finished runs of this protocol. From others: operations, at the "
        "mean speed of the recorded methods. From arithmetic, where nothing is recorded: operations / "
        f"({UTILISATION:.0%} of an A100's {peak / 1e12:g} TFLOP/s in {name}). Operations include the evaluation if the "
        "number of images is known; an iteration of the estimate counts twice. Modules and losses that a method adds "
        "are not counted. Nothing was executed."
    )


def _operations(cost: Cost) -> float:
    return cost.training + cost.evaluation


def _spent(record: Record) -> float:
    """Return the GPU seconds of a run, or its CPU seconds if it ran without a GPU."""
    if record.machine.get("accelerator"):
        return sum(record.seconds.values()) * int(str(record.machine.get("processes", 1)))
    return record.cpu_seconds


def _records(job: Job, root: Path) -> list[Record]:
    folder = root / job.record.parent.relative_to(job.folder)
    records = [read(path, verify=False) for path in sorted(folder.glob("seed*.json"))]
    return [
        record
        for record in records
        if record.state == "finished" and record.fingerprint == job.spec.protocol.fingerprint()
    ]
