"""Execute a job: train and evaluate, or evaluate a finished run."""

from __future__ import annotations

from benchmark.records import Record
from benchmark.runs.events import Notify, ignore
from benchmark.runs.job import Job
from benchmark.runs.one_run import train_and_record
from benchmark.runs.scored import score_and_record


def execute(job: Job, notify: Notify = ignore) -> Record:
    """Make the record of a job.

    Raises:
        UserError: see :func:`benchmark.runs.one_run.train_and_record` and
            :func:`benchmark.runs.scored.score_and_record`.
    """
    return train_and_record(job, notify) if job.spec.protocol.trained is None else score_and_record(job, notify)
