"""Submit pending runs as a job array, and show their progress as if they ran on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import submitit
from rich.console import Console
from submitit.core.utils import FailedJobError

from benchmark.common import reading
from benchmark.common.errors import UserError
from benchmark.data.folders import MissingError
from benchmark.records import read
from benchmark.runs.display import Display
from benchmark.runs.events import Ended, Event, Queued, State, from_json
from benchmark.runs.job import Job
from benchmark.runs.pool import Outcome
from benchmark.runs.slurm.node import FailedRunError, Run, events_of
from benchmark.runs.slurm.queue import Queue, alive, queued, remember
from benchmark.runs.slurm.resources import Resources

LOGS = "slurm"
TIMEOUTS = 1000
"""How often a run may reach its time limit; each time it makes progress."""
POLL_SECONDS = 1.0
LATE_SECONDS = 15.0
"""How long a job's result may take to appear on a shared file system, and a new job in the queue."""
STATES: dict[str, State] = {
    f"{UserError.__module__}.{UserError.__qualname__}": "refused",
    f"{MissingError.__module__}.{MissingError.__qualname__}": "refused",
    f"{FailedRunError.__module__}.{FailedRunError.__qualname__}": "failed",
}
Submitted = Mapping[Job, "submitit.Job[None]"]


@dataclass(frozen=True)
class Launcher:
    """Submits runs as one array and follows them until they have ended.

    Attributes:
        resources: what every run asks for.
        force: repeat finished runs, too.
        detach: do not follow them.
    """

    resources: Resources
    force: bool = False
    detach: bool = False

    def __call__(self, pending: list[Job], console: Console) -> list[Outcome]:
        """Submit the jobs that are not in the queue yet; return how all of them ended, or nothing if detached.

        Raises:
            UserError: SLURM refuses the array or does not answer.
            KeyboardInterrupt: the user stopped following; the jobs continue.
        """
        place, queue = pending[0].folder / LOGS, Queue()
        running: dict[Job, Any] = dict(queued(place, pending, queue()))
        if running:
            _say(console, f"{len(running)} of {len(pending)} runs are in the queue already")
        if fresh := [job for job in pending if job not in running]:
            folder = place / f"{datetime.now():%Y%m%d-%H%M%S}-{pending[0].spec.protocol.name}"
            made = submit(fresh, self.resources, folder, self.force)
            remember(folder, made)
            ids = [each.job_id for each in made.values()]
            _say(console, f"submitted as {ids[0]}{f' to {ids[-1]}' if ids[1:] else ''}; logs: {folder}/*_log.out")
            running |= made
        if self.detach:
            return []
        try:
            return follow(running, queue, console)
        except KeyboardInterrupt:
            numbers = sorted({each.job_id.partition("_")[0] for each in running.values()})
            _say(
                console,
                f"the jobs continue; scancel {' '.join(numbers)} ends them, this command follows them again",
            )
            raise


def submit(
    pending: list[Job], resources: Resources, folder: Path, force: bool, cluster: str = "slurm"
) -> dict[Job, submitit.Job[None]]:
    """Submit one array with a task for each job.

    Args:
        pending: the jobs.
        resources: what each asks for.
        folder: gets scripts, pickles, logs and events.
        force: repeat finished runs, too.
        cluster: one of submitit's; ``local`` starts processes on this machine.

    Raises:
        UserError: SLURM refuses it.
    """
    executor = submitit.AutoExecutor(folder, cluster=cluster, slurm_max_num_timeout=TIMEOUTS)
    executor.update_parameters(**resources.parameters(pending[0].runtime.threads))
    try:
        made = executor.submit_array([Run(job, force) for job in pending])
    except FailedJobError as error:
        raise UserError(f"--slurm: {' '.join(str(error).split())}") from None
    return dict(zip(pending, made, strict=True))


def follow(submitted: Submitted, states: Callable[[], Mapping[str, str]], console: Console) -> list[Outcome]:
    """Show the progress of submitted runs until all have ended.

    Args:
        submitted: the runs.
        states: returns the states of jobs by id; a job that it does not name has ended.
        console: for the display.
    """
    outcomes: list[Outcome] = []
    running = {job: (each, _events(events_of(each.paths))) for job, each in submitted.items()}
    seen: dict[Job, str] = {}
    lived: dict[Job, float] = {}
    with Display(len(running), console) as display:
        while running:
            known, now = states(), time.monotonic()
            for job, (each, events) in list(running.items()):
                state = known.get(each.job_id)
                if state is not None and state != seen.get(job):
                    seen[job] = state
                    display.show(job, Queued(state.lower()))
                for event in next(events):
                    display.show(job, event)
                written = Path(each.paths.result_pickle).exists()
                if alive(state) or job not in lived:
                    lived[job] = now
                late = now - lived[job] > LATE_SECONDS
                if written or late:
                    del running[job]
                    ended = _scored(job, _ending(each, written, state))
                    outcomes.append(Outcome(job, ended.state, ended.text))
                    display.show(job, ended)
            time.sleep(POLL_SECONDS if running else 0)
    return outcomes


def _ending(submitted: submitit.Job[None], written: bool, state: str | None) -> Ended:
    """Return how a run ended."""
    where = f"see {submitted.paths.stderr}; run again to resume"
    if not written:
        return Ended("crashed", f"SLURM ended job {submitted.job_id} ({state or 'state unknown'}); {where}")
    error = submitted.exception()
    if error is None:
        return Ended("finished")
    last = str(error).partition("\n----------------------\n")[2].partition("\n----------------------\n")[0]
    line = last.strip().splitlines()[-1]
    kind, _, text = line.partition(": ")
    return Ended(STATES[kind], text) if kind in STATES else Ended("crashed", f"{line}; {where}")


def _scored(job: Job, ended: Ended) -> Ended:
    """Add the mIoU of the record to the end of a finished run."""
    with suppress(UserError):  # a record that cannot be read is reported where it is used
        if ended.state == "finished":
            return Ended.of(read(job.record, verify=False))
    return ended


def _events(path: Path) -> Iterator[list[Event]]:
    """Yield, again and again, the events added to the file; an incomplete line waits for its rest."""
    rest, offset = b"", 0
    while True:
        if path.exists():
            reading.require_regular(path)
            with path.open("rb") as file:
                file.seek(offset)
                added = file.read()
            offset += len(added)
            *lines, rest = (rest + added).split(b"\n")
            yield [from_json(line) for line in lines]
        else:
            yield []


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
