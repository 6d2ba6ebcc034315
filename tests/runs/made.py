"""Jobs for tests, with some of their fields changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmark.runs.job import Job


def with_spec(job: Job, **changes: Any) -> Job:
    """Return the job with fields of its spec changed."""
    return replace(job, spec=replace(job.spec, **changes))


def with_runtime(job: Job, **changes: Any) -> Job:
    """Return the job with runtime options changed."""
    return replace(job, runtime=replace(job.runtime, **changes))
