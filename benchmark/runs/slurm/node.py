"""One run on a cluster node: SLURM's signals stop it, its checkpoint resumes it.

SIGUSR2 (or the signal that ``SUBMITIT_PREEMPT_SIGNAL`` names) announces the end of the job's time, and on many
clusters a pre-emption: the run stops at its next step with a checkpoint, and its job is requeued. SIGTERM comes with
``scontrol requeue``, a pre-emption and ``scancel`` alike: the run stops in the same way, and then waits for SLURM to
end the job, since only SLURM knows whether it will start again.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from submitit import JobEnvironment
from submitit.core.utils import DelayedSubmission, JobPaths

from benchmark.records import Record
from benchmark.runs import lock, pool
from benchmark.runs.display import Display
from benchmark.runs.events import (
    Ended,
    Evaluating,
    Event,
    ImageEvaluated,
    Loading,
    Locked,
    Notify,
    Step,
    Training,
    to_json,
)
from benchmark.runs.job import Job
from benchmark.runs.pending import find_pending

EVENT_SECONDS = 5.0
GRACE_SECONDS = 600.0
"""How long a stopped run waits for SLURM to end it; after that it continues."""


class FailedRunError(Exception):
    """The run ended with a record that states why it has no score."""


def events_of(paths: JobPaths) -> Path:
    """Return the file to which a submitted run writes its events, one line of JSON each."""
    return Path(paths.folder) / f"{paths.job_id}_events.jsonl"


class Run:
    """What submitit pickles, starts on a node, and requeues.

    Args:
        job: the run.
        force: repeat it even if it is finished when this object is created.
    """

    def __init__(self, job: Job, force: bool) -> None:
        self.job, self.force, self.before = job, force, pool.stamp(job)

    def checkpoint(self) -> DelayedSubmission:
        """Return what is requeued; the run's own checkpoint is beside its record."""
        return DelayedSubmission(self)

    def __call__(self) -> None:
        """Execute the run, from its checkpoint if there is one.

        Raises:
            UserError: the run is refused.
            FailedRunError: it failed, and its record says so.
            SystemExit: it is requeued.
        """
        if not find_pending([self.job], self.force):  # it finished at the moment of its pre-emption
            return
        stop = _Stop()
        with Display(1, Console(file=sys.stdout)) as display:
            log = _EventLog(self.job, display)

            def notify(event: Event) -> None:
                log(event)
                stop.check(event)

            record = _run_until_done(self.job, self.before, notify, stop)
            display.show(self.job, Ended.of(record))
        if record.state != "finished":
            raise FailedRunError(record.error)


def _run_until_done(job: Job, before: pool.Stamp, notify: Notify, stop: _Stop) -> Record:
    """Execute the job and return its record; continue after a stop that SLURM does not follow up.

    If another process holds the run's lock, wait for it: a pre-empted job may still be ending elsewhere, and the lock
    of a killed one may be another machine's.
    """
    watch, waits = lock.Watch(), False
    while True:
        try:
            if (owner := watch.owner(job.record)) is None:
                return pool.run_locked(job, before, notify)[0]
        except lock.LockedError as error:
            owner = error.owner
        except KeyboardInterrupt:
            stop.wait()
            continue
        if not waits:
            waits = True
            notify(Locked(str(owner)))
        time.sleep(pool.POLL_SECONDS)


class _Stop:
    """Signals received, kept until the run can stop: at the end of a step."""

    def __init__(self) -> None:
        self.warning = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
        self.requeue: Any = signal.getsignal(self.warning)  # submitit's handler, which exits this process
        self.received: int | None = None
        self.stepping = False
        for number in (signal.SIGINT, signal.SIGTERM, self.warning):
            signal.signal(number, self.receive)

    def receive(self, number: int, frame: object) -> None:
        """Note the signal. Outside of training no step would come in time; the last checkpoint must suffice then."""
        if number == self.warning and not self.stepping:
            self.requeue(number, frame)
        if self.received != self.warning:
            self.received = number

    def check(self, event: Event) -> None:
        """Stop the run if a signal asked for it.

        Raises:
            KeyboardInterrupt: at a step after a signal; the run then writes its checkpoint.
        """
        if isinstance(event, (Loading, Evaluating)):
            self.stepping = False
        elif isinstance(event, Training):
            self.stepping = True
        elif isinstance(event, Step):
            self.stepping = True
            if self.received is not None:
                raise KeyboardInterrupt

    def wait(self) -> None:
        """Requeue the job, or wait for SLURM to end it; return if it does not."""
        self.stepping = False
        if self.received == self.warning:
            self.requeue(self.warning, None)
        print("stopped with a checkpoint, waiting for SLURM to end this job", flush=True)
        time.sleep(GRACE_SECONDS)
        self.received = None


class _EventLog:
    """Writes a run's events to its log, and to the file that the launcher reads."""

    def __init__(self, job: Job, display: Display) -> None:
        self.job, self.display, self.written = job, display, 0.0
        self.path = events_of(JobEnvironment().paths)

    def __call__(self, event: Event) -> None:
        self.display.show(self.job, event)
        if isinstance(event, ImageEvaluated):
            return
        if isinstance(event, Step):
            if time.monotonic() - self.written <= EVENT_SECONDS:
                return
            self.written = time.monotonic()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(to_json(event) + "\n")
