"""Jobs and runs for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from benchmark.runs.job import Job
from benchmark.runs.one_run import train_and_record
from tests.conftest import TINY
from tests.training.test_trainer import job_of


def with_spec(job: Job, **changes: Any) -> Job:
    """Return the job with fields of its spec changed."""
    return replace(job, spec=replace(job.spec, **changes))


def with_runtime(job: Job, **changes: Any) -> Job:
    """Return the job with runtime options changed."""
    return replace(job, runtime=replace(job.runtime, **changes))


def run_freeze_and_bitfit(folder: Path, data: Path) -> None:
    """Run two methods on a shortened tiny protocol, with their records and predictions in ``folder``."""
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY | {"iterations": 4}), encoding="utf-8")
    for method in ("freeze", "bitfit"):
        train_and_record(job_of(path, data, folder, method))
    path.unlink()
