"""The SLURM queue, and which runs of a records folder are in it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import submitit

from benchmark.common import atomic, reading
from benchmark.common.errors import UserError
from benchmark.runs.job import Job

ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "TIMEOUT"}
"""States after which SLURM does not requeue a job; it does after PREEMPTED and NODE_FAIL."""
QUERY_SECONDS = 10.0
LIST = "submitted.tsv"
"""One line per submitted run: job ID, path of the record."""


class Queue:
    """The states of the user's jobs, from ``squeue``; ``sacct`` would need an accounting database."""

    def __init__(self) -> None:
        self.states: dict[str, str] | None = None
        self.queried = float("-inf")

    def __call__(self) -> Mapping[str, str]:
        """Return the state of each job by ID, with the reason why it is pending.

        If ``squeue`` fails, the last known states are returned.

        Raises:
            UserError: ``squeue`` has never succeeded.
        """
        if self.states is None or time.monotonic() - self.queried > QUERY_SECONDS:
            self.queried = time.monotonic()
            try:
                self.states = _squeue()
            except UserError:
                if self.states is None:
                    raise
        return self.states


def alive(state: str | None) -> bool:
    """Return whether a job in this state is pending or running, or will be requeued."""
    return state is not None and state.split()[0] not in ENDED


def _squeue() -> dict[str, str]:
    """Return the states of the user's jobs by ID.

    Raises:
        UserError: ``squeue`` fails or does not answer within a minute.
    """
    command = ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i|%T|%r"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except subprocess.CalledProcessError as error:
        raise UserError(f"squeue: {error.stderr.strip() or error}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"squeue: {error}") from None
    states = {}
    for line in done.stdout.splitlines():
        name, state, reason = line.split("|", 2)
        states[name] = state if reason == "None" else f"{state} ({reason})"
    return states


def remember(folder: Path, submitted: Mapping[Job, submitit.Job[None]]) -> None:
    """Write a list of the SLURM jobs and their runs into ``folder``."""
    lines = [f"{each.job_id}\t{job.record.resolve()}\n" for job, each in submitted.items()]
    atomic.write_file(folder / LIST, "".join(lines).encode())


def queued(place: Path, due: list[Job], states: Mapping[str, str]) -> dict[Job, submitit.Job[None]]:
    """Return those jobs that an earlier call submitted, with logs below ``place``, and that are still in the queue."""
    by_record = {str(job.record.resolve()): job for job in due}
    found: dict[Job, submitit.Job[None]] = {}
    for path in sorted(place.glob(f"*/{LIST}")):
        for line in reading.read_text(path).splitlines():
            name, record = line.split("\t")
            if record in by_record and alive(states.get(name)):
                found[by_record[record]] = submitit.SlurmJob(path.parent, name)
    return found
