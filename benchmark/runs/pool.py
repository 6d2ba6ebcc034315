"""Execute runs on this machine: one process per run, several at once.

A process of its own gives each run its own memory figure and threads, and lets one run fail alone. It is asked to stop
through its pipe, or by SIGTERM, and stops at the end of the current step, with a checkpoint; when the parent dies the
pipe closes, and the run stops in the same way.

Other sweeps may work on the same runs, so each run is locked while it executes (:mod:`benchmark.runs.lock`). A run that
another process holds is skipped while others are pending; at the end it is waited for, and resumed if its holder died.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Optional

from benchmark.common import reading
from benchmark.common.allocation import keep_freed_memory
from benchmark.common.errors import LostWorkerError, UserError
from benchmark.common.signals import handled
from benchmark.records import Record, read
from benchmark.runs import lock
from benchmark.runs.events import (
    Ended,
    Evaluating,
    Event,
    ImageEvaluated,
    Listener,
    Loading,
    Locked,
    Note,
    Notify,
    State,
    Step,
    Training,
)
from benchmark.runs.job import Job

Stamp = Optional[tuple[int, int, int]]
"""Changes whenever a record is written; None if there is none."""
ELSEWHERE = "by another process"
KILLED = 9
"""SIGKILL, which Windows does not know."""
POLL_SECONDS = 1.0
EVENT_SECONDS = 0.1
"""Least time between two steps that a run reports to its parent."""
PRELOAD = ["benchmark.runs.execute", "benchmark.models.mmseg_parts", "timm"]


@dataclass(frozen=True)
class Outcome:
    """How a job ended: its state, and one line about it."""

    job: Job
    state: State
    text: str


def stamp(job: Job) -> Stamp:
    """Return the stamp of the job's record. The file is opened, since network file systems refresh only then."""
    try:
        reading.require_regular(job.record)
        with open(job.record, "rb") as file:
            status = os.fstat(file.fileno())
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def written_since(job: Job, before: Stamp) -> Record | None:
    """Return the job's record if another process has written it since its stamp was ``before``.

    Raises:
        UserError: it is damaged.
    """
    now = stamp(job)
    return None if now is None or now == before else read(job.record)


def tidy(job: Job) -> None:
    """Remove what a killed process left beside the job's record, unless the run is locked."""
    with suppress(OSError, UserError, lock.LockedError):
        outdated = job.checkpoint.exists() and job.checkpoint.stat().st_mtime_ns <= job.record.stat().st_mtime_ns
        if outdated or any(lock.leftovers(lock.path_of(job.record))):
            with lock.RunLock(job.record):
                if outdated:  # a newer one belongs to a repetition, which may resume
                    job.checkpoint.unlink(missing_ok=True)


def run_locked(job: Job, before: Stamp, notify: Notify) -> tuple[Record, bool]:
    """Lock the job and execute it in this process, unless its record was written since its stamp was ``before``.

    Returns:
        its record, and whether this process wrote it.

    Raises:
        LockedError: another process holds the lock.
        UserError: as :func:`benchmark.runs.execute.execute`; or the lock was lost to another process.
    """
    with lock.RunLock(job.record) as held:
        if (record := written_since(job, before)) is not None:
            return record, False
        from benchmark.runs.execute import execute

        return execute(job, partial(check_lock, held, notify)), True


def check_lock(held: lock.RunLock, notify: Notify, event: Event) -> None:
    """Forward an event while this process holds the run's lock.

    Raises:
        UserError: the lock is lost.
    """
    if held.lost is not None:
        raise UserError(f"{held.path}: lock lost to {held.lost}: heartbeat timed out")
    if held.recreated:
        held.recreated = False
        notify(Note(f"{held.path.parent} was deleted or moved during the run, and is created again"))
    notify(event)


def run_in_processes(
    jobs: Sequence[Job], workers: int, listener: Listener, before: Mapping[Job, Stamp] | None = None
) -> list[Outcome]:
    """Execute each job in a process of its own, ``workers`` at a time.

    A job that fails, is refused or crashes ends alone; the others continue.

    Args:
        jobs: what to execute.
        workers: how many at a time.
        listener: receives every job's events.
        before: stamps of the records when the jobs were found pending; the present ones if None.

    Raises:
        KeyboardInterrupt: after every running job has stopped, with its checkpoint; a second one stops at once.
    """
    with _warm_ups(jobs) as folder:
        pool = _Pool(workers, listener, before or {job: stamp(job) for job in jobs}, folder)
        try:
            return pool.run(list(jobs))
        except KeyboardInterrupt:
            pool.stop()
            raise
        finally:
            pool.kill()  # they are no daemon processes, since these cannot have data-loader workers


@contextmanager
def _warm_ups(jobs: Sequence[Job]) -> Iterator[Path | None]:
    """Create a temporary folder in which jobs share decoder warm-ups; None for a single job or if there is no space."""
    folder = None
    with suppress(OSError):
        folder = Path(tempfile.mkdtemp(prefix="dgss-warm-ups-")) if len(jobs) > 1 else None
    try:
        yield folder
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


class _Pool:
    def __init__(self, workers: int, listener: Listener, before: Mapping[Job, Stamp], warm_ups: Path | None) -> None:
        self.workers, self.listener, self.before, self.warm_ups = workers, listener, before, warm_ups
        self.context = context()
        self.running: dict[Connection, tuple[Job, BaseProcess]] = {}
        self.loading: set[Connection] = set()
        self.stopped: set[Connection] = set()
        self.elsewhere: list[Job] = []
        self.watch = lock.Watch()
        self.outcomes: list[Outcome] = []

    def run(self, waiting: list[Job]) -> list[Outcome]:
        while waiting or self.running or self.elsewhere:
            while waiting and len(self.running) < self.workers:
                self._start(waiting.pop(0))
            if self.running:
                self._listen()
            elif self.elsewhere:
                time.sleep(POLL_SECONDS)
            if not waiting:
                waiting = self._unlocked()
        return self.outcomes

    def stop(self) -> None:
        """Ask every running job to stop at its next step, and wait; kill them on a second interrupt.

        A job that is still loading has nothing to save, and ends at once.
        """
        try:
            for pipe, (_, process) in self.running.items():
                if pipe in self.loading:
                    self.stopped.add(pipe)
                    process.terminate()
                else:
                    with suppress(OSError):  # it may just have ended
                        pipe.send("stop")
            while self.running:
                self._listen()
        except KeyboardInterrupt:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill every job that still runs."""
        for _, process in self.running.values():
            process.kill()

    def _start(self, job: Job) -> None:
        if (record := written_since(job, self.before[job])) is not None:
            self._ended(job, Ended.of(record, ELSEWHERE))
        elif (owner := self.watch.owner(job.record)) is not None:
            self._skip(job, str(owner))
        else:
            ours, theirs = self.context.Pipe()
            os.environ["OMP_NUM_THREADS"] = str(job.runtime.threads)
            words = (replace(job, warm_ups=self.warm_ups), self.before[job], theirs)
            process = self.context.Process(target=_work, args=words)  # type: ignore[attr-defined]
            with _without_main():
                process.start()
            theirs.close()
            self.running[ours] = (job, process)
            self.loading.add(ours)

    def _skip(self, job: Job, owner: str) -> None:
        """Leave a job to the process that holds its lock, for now."""
        self.elsewhere.append(job)
        self.listener(job, Locked(owner))

    def _unlocked(self) -> list[Job]:
        """Return the skipped jobs whose lock is free now."""
        free = [job for job in self.elsewhere if self.watch.owner(job.record) is None]
        self.elsewhere = [job for job in self.elsewhere if job not in free]
        return free

    def _listen(self) -> None:
        for pipe in wait(list(self.running), POLL_SECONDS if self.elsewhere else None):
            assert isinstance(pipe, Connection)
            job, process = self.running[pipe]
            try:
                event: Event = pipe.recv()
            except (EOFError, ConnectionResetError):
                process.join()
                event = Ended("crashed", _ending(process.exitcode))
                if pipe in self.stopped:
                    event = Ended("interrupted", "stopped before its first step; run again")
            if isinstance(event, (Ended, Locked)):
                process.join()
                self._close(pipe, job, event)
                continue
            if isinstance(event, (Loading, Training, Evaluating)):
                (self.loading.add if isinstance(event, Loading) else self.loading.discard)(pipe)
            self.listener(job, event)

    def _close(self, pipe: Connection, job: Job, event: Ended | Locked) -> None:
        del self.running[pipe]
        self.loading.discard(pipe)
        pipe.close()
        if isinstance(event, Locked):
            self._skip(job, event.owner)
        else:
            self._ended(job, event)

    def _ended(self, job: Job, event: Ended) -> None:
        self.outcomes.append(Outcome(job, event.state, event.text))
        self.listener(job, event)


def _ending(code: int | None) -> str:
    """Describe how a process ended that reported nothing."""
    if code == -KILLED:
        return "its process was killed, as happens when memory runs out; run again to resume"
    return f"its process ended with code {code}; run again to resume"


def context() -> BaseContext:
    """Return the cheapest safe way to start a process: libraries are imported once where forking is safe."""
    if "forkserver" in multiprocessing.get_all_start_methods() and sys.platform != "darwin":
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        return context
    return multiprocessing.get_context("spawn")


def start_server(threads: int) -> None:
    """Start the process that imports the libraries for all runs, where there is one; it does not wait for the imports.

    Args:
        threads: of each run; libraries read it when they are imported.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if context().get_start_method() == "forkserver":
        from multiprocessing.forkserver import ensure_running

        # A terminal sends Ctrl-C to the server while it imports, too.
        with _without_main(), handled(signal.SIGINT, signal.SIG_IGN):
            ensure_running()


@contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not import the main module again: a user's script would start its runs once more."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _work(job: Job, before: Stamp, pipe: Connection) -> None:
    """Execute one job in this process, as :func:`run_locked` does, and report to the parent through ``pipe``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; a terminal signals both
    keep_freed_memory()
    reported, stop = 0.0, False

    def terminated(number: int, frame: object) -> None:
        nonlocal stop
        stop = True

    def notify(event: Event) -> None:
        nonlocal reported
        progress = isinstance(event, (Step, ImageEvaluated))
        if progress and (stop or pipe.poll()):  # also true when the parent is gone
            raise KeyboardInterrupt
        if isinstance(event, (Loading, Training, Evaluating)):
            # A scheduler signals both, too; a run that is still loading has nothing to save.
            signal.signal(signal.SIGTERM, signal.SIG_DFL if isinstance(event, Loading) else terminated)
        if not progress or time.monotonic() - reported > EVENT_SECONDS:
            reported = time.monotonic()
            pipe.send(event)

    try:
        record, ours = run_locked(job, before, notify)
        pipe.send(Ended.of(record, "" if ours else ELSEWHERE))
    except lock.LockedError as error:
        pipe.send(Locked(str(error)))
    except LostWorkerError as error:
        pipe.send(Ended("crashed", str(error)))
    except UserError as error:
        pipe.send(Ended("refused", str(error)))
    except (KeyboardInterrupt, BrokenPipeError):
        with suppress(OSError):  # the parent may be gone
            pipe.send(Ended("interrupted", "stopped with a checkpoint; run again to resume"))
    except Exception as error:
        lines = traceback.format_exc().strip().splitlines()
        where = lines[-3].strip() if len(lines) > 2 else ""
        pipe.send(Ended("crashed", f"{type(error).__name__}: {error} ({where})"))
