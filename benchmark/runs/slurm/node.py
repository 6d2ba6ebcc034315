"""One run as a node of the cluster executes it: SLURM's signals stop it, its checkpoint takes it up again.

SIGUSR2 (or the signal that ``SUBMITIT_PREEMPT_SIGNAL`` names) announces the end of the job's time, and on many
clusters a pre-emption: the run stops at its next step with a checkpoint, and its job is put back into the queue.
SIGTERM comes with ``scontrol requeue``, a pre-emption and ``scancel`` alike: the run stops in the same way, and then
waits for SLURM to end the job, which alone knows whether it starts again.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from submitit import JobEnvironment
from submitit.core.utils import DelayedSubmission, JobPaths

from benchmark.records import Record
from benchmark.runs import lock, pool
from benchmark.runs.display import Display
from benchmark.runs.job import Job
from benchmark.runs.pending import find_pending

EVENT_SECONDS = 5.0
GRACE_SECONDS = 600.0
"""How long a run waits for SLURM to end it; nobody did then, and it goes on."""


class FailedRunError(Exception):
    """The run ended with a record that says why it has no score."""


def events_of(paths: JobPaths) -> Path:
    """Return the file in which a submitted run tells how far it is, one JSON object per line."""
    return Path(paths.folder) / f"{paths.job_id}_events.jsonl"


class Run:
    """What submitit pickles, starts on a node, and puts back into the queue.

    Args:
        job: what to run.
        force: repeat it even if it is finished when this is made.
    """

    def __init__(self, job: Job, force: bool) -> None:
        self.job, self.force, self.before = job, force, pool.stamp(job)

    def checkpoint(self) -> DelayedSubmission:
        """Return what is put into the queue again; the run's own checkpoint lies beside its record."""
        return DelayedSubmission(self)

    def __call__(self) -> None:
        """Execute the run, from its checkpoint if there is one.

        Raises:
            UserError: the run is refused.
            FailedRunError: it has failed, and its record says so.
            SystemExit: it is in the queue again.
        """
        if not find_pending([self.job], self.force):  # ended at the moment at which it was pre-empted
            return
        stop = _Stop()
        with Display(1, Console(file=sys.stdout)) as display:
            tell = _Teller(self.job, display)

            def notify(kind: str, **facts: Any) -> None:
                tell(kind, facts)
                stop.at(kind, facts)

            record = _attended(self.job, self.before, notify, stop)
            display.event(self.job, record.state, {"text": record.error or ""})
        if record.state != "finished":
            raise FailedRunError(record.error)


def _attended(job: Job, before: pool.Stamp, notify: Callable[..., None], stop: _Stop) -> Record:
    """Execute the job and return its record; a stop that has no consequence is taken up again.

    Where another process is at the run, it is waited for: a job that was pre-empted may still be ending elsewhere, and
    one that was killed may be another machine's.
    """
    watch, waits = lock.Watch(), False
    while True:
        try:
            if (owner := watch.owner(job.record)) is None:
                return pool.attempt(job, before, notify)[0]
        except lock.LockedError as error:
            owner = error.owner
        except KeyboardInterrupt:
            stop.wait()
            continue
        if not waits:
            waits = True
            notify("taken", text=str(owner))
        time.sleep(pool.POLL_SECONDS)


class _Stop:
    """Signals, kept until the run can stop: at the end of a step."""

    def __init__(self) -> None:
        self.warning = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
        self.requeue: Any = signal.getsignal(self.warning)  # submitit's, which leaves this process
        self.received: int | None = None
        self.stepping = False
        for number in (signal.SIGINT, signal.SIGTERM, self.warning):
            signal.signal(number, self.receive)

    def receive(self, number: int, frame: object) -> None:
        """Note the signal. Outside of training no step would come in time: then the last checkpoint has to do."""
        if number == self.warning and not self.stepping:
            self.requeue(number, frame)
        if self.received != self.warning:
            self.received = number

    def at(self, kind: str, facts: dict[str, Any]) -> None:
        """Look at an event of the run.

        Raises:
            KeyboardInterrupt: at a step after a signal; the run then writes its checkpoint.
        """
        if kind == "stage":
            self.stepping = facts["text"] == "training"
        elif kind == "step":
            self.stepping = True
            if self.received is not None:
                raise KeyboardInterrupt

    def wait(self) -> None:
        """Put the job back into the queue, or wait for SLURM to end it; return where it does not."""
        self.stepping = False
        if self.received == self.warning:
            self.requeue(self.warning, None)
        print("stopped with a checkpoint, waiting for SLURM to end this job", flush=True)
        time.sleep(GRACE_SECONDS)
        self.received = None


class _Teller:
    """Passes a run's events on: to its log, and to the file that the launcher reads."""

    def __init__(self, job: Job, display: Display) -> None:
        self.job, self.display, self.told = job, display, 0.0
        self.path = events_of(JobEnvironment().paths)

    def __call__(self, kind: str, facts: dict[str, Any]) -> None:
        self.display.event(self.job, kind, facts)
        due = time.monotonic() - self.told > EVENT_SECONDS
        if kind in ("taken", "stage", "note") or (kind == "step" and due):
            if kind == "step":
                self.told = time.monotonic()
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([kind, facts]) + "\n")
