"""A job: one run to execute, how, and where its files are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from benchmark.runs.spec import RunSpec
from benchmark.training.runtime import RuntimeOptions


@dataclass(frozen=True, eq=False)
class Job:
    """One run to execute.

    Attributes:
        spec: what identifies the run.
        data_root: contains one folder per dataset; None if all are rendered.
        folder: contains all records.
        runtime: what changes speed and memory only.
        warm_ups: folder in which the runs of a sweep share decoder warm-ups; None to train one's own.
    """

    spec: RunSpec
    data_root: Path | None
    folder: Path
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    warm_ups: Path | None = None

    @property
    def record(self) -> Path:
        """Path of the run's record, existing or future."""
        spec = self.spec
        return self.folder / spec.protocol.name / spec.backbone / spec.method_name / f"seed{spec.seed}.json"

    @property
    def checkpoint(self) -> Path:
        """Path of the run's checkpoint while it is unfinished."""
        return self.record.with_suffix(".checkpoint")
