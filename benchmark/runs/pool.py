"""Where runs execute: one process per run, several at once.

A process of its own gives each run its own memory figure and threads, and lets one run fail alone. It is told to
stop through its pipe, or by SIGTERM, and obeys at the next step boundary, with a checkpoint; when the parent dies, so
does the pipe, and the run stops in the same way.

Other sweeps may be at the same runs: whoever executes one claims it (:mod:`benchmark.runs.lock`). A run that somebody
else is at is left to them while there are others; at the end it is waited for, and taken over if it was given up.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, Optional

from benchmark.common.errors import LostWorkerError, UserError
from benchmark.records import Record, read
from benchmark.runs import lock
from benchmark.runs.job import Job

Event = Callable[[Job, str, dict[str, Any]], None]
"""Told of a job: ``taken`` where somebody else is at it, ``stage``, ``note``, ``step``, ``image``, then one of
``finished``, ``failed``, ``refused``, ``crashed``, ``interrupted``."""
Stamp = Optional[tuple[int, int, int]]
"""What changes whenever a record is written; None where there is none."""
ELSEWHERE = "by another process"
LOADING = "loading"
"""The stage of a run before its first step."""
KILLED = 9
"""SIGKILL, which Windows does not know."""
POLL_SECONDS = 1.0
TICK_SECONDS = 0.1
PRELOAD = ["benchmark.runs.experiment", "benchmark.models.mmseg_parts", "timm"]


@dataclass(frozen=True)
class Outcome:
    """How a job ended: ``state`` as in :data:`Event`, ``text`` in one line."""

    job: Job
    state: str
    text: str


def stamp(job: Job) -> Stamp:
    """Return the stamp of the job's record as it is now; it is opened, as network file systems ask only then."""
    try:
        with open(job.record, "rb") as file:
            status = os.fstat(file.fileno())
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def made_since(job: Job, before: Stamp) -> Record | None:
    """Return the record that somebody else has made of the job since its stamp was ``before``, if they have.

    Raises:
        UserError: it is damaged.
    """
    now = stamp(job)
    return None if now is None or now == before else read(job.record)


def tidy(job: Job) -> None:
    """Remove what a process that was killed left beside the job's record, unless somebody is at the run."""
    with suppress(OSError, UserError, lock.LockedError):
        late = job.checkpoint.exists() and job.checkpoint.stat().st_mtime_ns <= job.record.stat().st_mtime_ns
        if late or any(lock.leftovers(lock.path_of(job.record))):
            with lock.RunLock(job.record):
                if late:  # a later one is that of a repetition, which may go on
                    job.checkpoint.unlink(missing_ok=True)


def attempt(job: Job, before: Stamp, notify: Callable[..., None]) -> tuple[Record, bool]:
    """Claim the job and execute it in this process, unless it was done since its record's stamp was ``before``.

    Returns:
        its record, and whether this process made it.

    Raises:
        TakenError: somebody else is at it.
        UserError: as :func:`benchmark.runs.experiment.execute`; or somebody has taken the run over.
    """
    with lock.RunLock(job.record) as claim:
        if (record := made_since(job, before)) is not None:
            return record, False
        from benchmark.runs.experiment import execute

        return execute(job, partial(holding, claim, notify)), True


def holding(claim: lock.RunLock, notify: Callable[..., None], kind: str, **facts: Any) -> None:
    """Pass an event on as long as the run is this process's.

    Raises:
        UserError: it is not any more.
    """
    if claim.lost is not None:
        raise UserError(f"{claim.path}: {claim.lost} has taken the run over, since this one gave no sign of life")
    if claim.remade:
        claim.remade = False
        notify("note", text=f"{claim.path.parent} was deleted or moved during the run, and is made anew")
    notify(kind, **facts)


def run_apart(
    jobs: Sequence[Job], workers: int, event: Event, before: Mapping[Job, Stamp] | None = None
) -> list[Outcome]:
    """Execute jobs in processes of their own, ``workers`` at a time.

    A job that fails, is refused or crashes ends alone; the others go on.

    Args:
        jobs: what to execute.
        workers: how many at a time.
        event: told of each.
        before: stamps of their records when they were found due; as they are now if None.

    Raises:
        KeyboardInterrupt: after every running job has stopped, with its checkpoint; a second one stops at once.
    """
    pool = _Pool(workers, event, before or {job: stamp(job) for job in jobs})
    try:
        return pool.run(list(jobs))
    except KeyboardInterrupt:
        pool.stop()
        raise
    finally:
        pool.kill()  # nobody is left to listen; they are no daemons, which could not have loaders


class _Pool:
    def __init__(self, workers: int, event: Event, before: Mapping[Job, Stamp]) -> None:
        self.workers, self.event, self.before = workers, event, before
        self.context = context()
        self.running: dict[Connection, tuple[Job, BaseProcess]] = {}
        self.stages: dict[Connection, str] = {}
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
                waiting = self._given_up()
        return self.outcomes

    def stop(self) -> None:
        """Ask every running job to stop at its next step, and wait; kill them on a second interrupt.

        What still loads has nothing to keep, and ends at once.
        """
        try:
            for pipe, (_, process) in self.running.items():
                if self.stages.get(pipe, LOADING) == LOADING:
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
        """End every job that still runs."""
        for _, process in self.running.values():
            process.kill()

    def _start(self, job: Job) -> None:
        if (record := made_since(job, self.before[job])) is not None:
            self._ended(job, record.state, record.error or ELSEWHERE)
        elif (owner := self.watch.owner(job.record)) is not None:
            self._leave(job, str(owner))
        else:
            ours, theirs = self.context.Pipe()
            os.environ["OMP_NUM_THREADS"] = str(job.threads)
            words = (job, self.before[job], theirs)
            process = self.context.Process(target=_work, args=words)  # type: ignore[attr-defined]
            process.start()
            theirs.close()
            self.running[ours] = (job, process)

    def _leave(self, job: Job, owner: str) -> None:
        """Leave a job to who is at it, for the time being."""
        self.elsewhere.append(job)
        self.event(job, "taken", {"text": owner})

    def _given_up(self) -> list[Job]:
        """Return the jobs that nobody else is at any more."""
        free = [job for job in self.elsewhere if self.watch.owner(job.record) is None]
        self.elsewhere = [job for job in self.elsewhere if job not in free]
        return free

    def _listen(self) -> None:
        for pipe in wait(list(self.running), POLL_SECONDS if self.elsewhere else None):
            assert isinstance(pipe, Connection)
            job, process = self.running[pipe]
            try:
                kind, facts = pipe.recv()
            except (EOFError, ConnectionResetError):
                process.join()
                if pipe in self.stopped:
                    self._end(pipe, job, "interrupted", "stopped before its first step; run again")
                else:
                    self._end(pipe, job, "crashed", _ending(process.exitcode))
                continue
            if kind == "stage":
                self.stages[pipe] = facts["text"]
            if kind in ("stage", "note", "step", "image"):
                self.event(job, kind, facts)
            else:
                process.join()
                self._end(pipe, job, kind, facts["text"])

    def _end(self, pipe: Connection, job: Job, state: str, text: str) -> None:
        del self.running[pipe]
        self.stages.pop(pipe, None)
        pipe.close()
        if state == "taken":
            self._leave(job, text)
        else:
            self._ended(job, state, text)

    def _ended(self, job: Job, state: str, text: str) -> None:
        self.outcomes.append(Outcome(job, state, text))
        self.event(job, state, {"text": text})


def _ending(code: int | None) -> str:
    """Return how a process ended that told nothing."""
    if code == -KILLED:
        return "its process was killed, as happens where memory runs out; run again to resume"
    return f"its process ended with code {code}; run again to resume"


def context() -> BaseContext:
    """Return the cheapest safe way to start a process: libraries are imported once where forking is safe."""
    if "forkserver" in multiprocessing.get_all_start_methods() and sys.platform != "darwin":
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        return context
    return multiprocessing.get_context("spawn")


def _work(job: Job, before: Stamp, pipe: Connection) -> None:
    """Execute one job in this process, as :func:`attempt` does, and tell the parent through ``pipe``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; a terminal would signal both
    told, stop = 0.0, False

    def terminated(number: int, frame: object) -> None:
        nonlocal stop
        stop = True

    def notify(kind: str, **facts: Any) -> None:
        nonlocal told
        if kind in ("step", "image") and (stop or pipe.poll()):  # also true when the parent is gone
            raise KeyboardInterrupt
        if kind == "stage":  # a scheduler signals both, too; what still loads has nothing to keep
            signal.signal(signal.SIGTERM, signal.SIG_DFL if facts["text"] == LOADING else terminated)
        if kind in ("stage", "note") or time.monotonic() - told > TICK_SECONDS:
            told = time.monotonic()
            pipe.send((kind, facts))

    def tell(state: str, text: str = "") -> None:
        pipe.send((state, {"text": text}))

    try:
        record, ours = attempt(job, before, notify)
        tell(record.state, record.error or ("" if ours else ELSEWHERE))
    except lock.LockedError as error:
        tell("taken", str(error))
    except LostWorkerError as error:
        tell("crashed", str(error))
    except UserError as error:
        tell("refused", str(error))
    except (KeyboardInterrupt, BrokenPipeError):
        with suppress(OSError):  # the parent may be gone
            tell("interrupted", "stopped with a checkpoint; run again to resume")
    except Exception as error:
        lines = traceback.format_exc().strip().splitlines()
        tell("crashed", f"{type(error).__name__}: {error} ({lines[-3].strip() if len(lines) > 2 else ''})")
