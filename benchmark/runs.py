"""Which runs are due, and where they execute: one process per run, several at once.

A process of its own gives each run its own memory figure and threads, and lets one run fail alone. It is told to
stop through its pipe and obeys at the next step boundary, with a checkpoint; when the parent dies, so does the
pipe, and the run stops in the same way.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

from benchmark.errors import UserError
from benchmark.jobs import Job
from benchmark.records import read

Event = Callable[[Job, str, dict[str, Any]], None]
"""Told of a job: ``stage``, ``note``, ``step``, ``image``, then one of ``finished``, ``failed``, ``refused``,
``crashed``, ``interrupted``."""
LEFT_ALONE = (
    "another process of this run has ended, as what it wrote itself may tell; "
    "start all again to go on from the last checkpoint"
)
TICK_SECONDS = 0.1
PRELOAD = ["benchmark.experiment", "benchmark.models.mmseg_parts", "timm"]


@dataclass(frozen=True)
class Outcome:
    """How a job ended: ``state`` as in :data:`Event`, ``text`` in one line."""

    job: Job
    state: str
    text: str


def due(jobs: Sequence[Job], force: bool) -> list[Job]:
    """Return the jobs without a finished record; all of them with ``force``.

    Raises:
        UserError: a record is damaged, or was made under other conditions than its name says.
    """
    if force:
        return list(jobs)
    waiting = []
    for job in jobs:
        if not os.path.exists(job.record):  # unlike Path.exists, no error where a name is too long
            waiting.append(job)
            continue
        record = read(job.record)
        if record.fingerprint != job.protocol.fingerprint():
            raise UserError(
                f"{job.record}: made under another version of protocol {job.protocol.name}; "
                "repeat it with --force, or keep it and give another --records folder"
            )
        if record.state != "finished":
            waiting.append(job)
    return waiting


def run_here(jobs: Sequence[Job], event: Event) -> list[Outcome]:
    """Execute jobs one after another in this process (used under ``accelerate launch`` and ``torchrun``).

    Where another process of the run ends too early, the job has crashed, and those behind it are left.

    Raises:
        KeyboardInterrupt: after a signal to any of the processes, on all of them at the end of the same step, with a
            checkpoint.
    """
    from benchmark.experiment import execute

    outcomes = []
    with _Told() as told:

        def notify(job: Job, kind: str, facts: dict[str, Any]) -> None:
            if kind == "step" and told.anywhere():
                raise KeyboardInterrupt
            event(job, kind, facts)

        for job in jobs:
            try:
                record = execute(job, lambda kind, job=job, **facts: notify(job, kind, facts))
                outcome = Outcome(job, record.state, record.error or "")
            except RuntimeError as error:
                if not _alone(error):
                    raise
                outcome = Outcome(job, "crashed", LEFT_ALONE)
            event(job, outcome.state, {"text": outcome.text})
            outcomes.append(outcome)
            if outcome.state == "crashed":
                break
    return outcomes


def _alone(error: RuntimeError) -> bool:
    """Return whether the error tells that a process of this run is gone; gloo has no exception of its own for it."""
    from torch import distributed

    together = distributed.is_available() and distributed.is_initialized()
    return together and (isinstance(error, distributed.DistError) or "gloo" in str(error))


class _Told:
    """Whether a process of this run was told to stop; processes that stop at different steps would wait for ever.

    Within the context a signal is noted, and nothing else.
    """

    def __init__(self) -> None:
        self.here = False

    def __enter__(self) -> _Told:
        self.before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.here = True

    def anywhere(self) -> bool:
        """Return the same on every process; all of them have to ask."""
        import torch
        from accelerate import PartialState
        from accelerate.utils import reduce

        flag = torch.tensor([float(self.here)], device=PartialState().device)
        return bool(reduce(flag, "sum"))


def run_apart(jobs: Sequence[Job], workers: int, event: Event) -> list[Outcome]:
    """Execute jobs in processes of their own, ``workers`` at a time.

    A job that fails, is refused or crashes ends alone; the others go on.

    Raises:
        KeyboardInterrupt: after every running job has stopped, with its checkpoint; a second one stops at once.
    """
    pool = _Pool(workers, event)
    try:
        return pool.run(list(jobs))
    except KeyboardInterrupt:
        pool.stop()
        raise


class _Pool:
    def __init__(self, workers: int, event: Event) -> None:
        self.workers, self.event = workers, event
        self.context = context()
        self.running: dict[Connection, tuple[Job, BaseProcess]] = {}
        self.outcomes: list[Outcome] = []

    def run(self, waiting: list[Job]) -> list[Outcome]:
        while waiting or self.running:
            while waiting and len(self.running) < self.workers:
                self._start(waiting.pop(0))
            self._listen()
        return self.outcomes

    def stop(self) -> None:
        """Ask every running job to stop at its next step, and wait; kill them on a second interrupt."""
        for pipe in self.running:
            pipe.send("stop")
        try:
            while self.running:
                self._listen()
        except KeyboardInterrupt:
            for _, process in self.running.values():
                process.kill()

    def _start(self, job: Job) -> None:
        ours, theirs = self.context.Pipe()
        os.environ["OMP_NUM_THREADS"] = str(job.threads)
        process = self.context.Process(target=_work, args=(job, theirs), daemon=True)  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        self.running[ours] = (job, process)

    def _listen(self) -> None:
        for pipe in wait(list(self.running)):
            assert isinstance(pipe, Connection)
            job, process = self.running[pipe]
            try:
                kind, facts = pipe.recv()
            except (EOFError, ConnectionResetError):
                process.join()
                text = f"its process ended with code {process.exitcode}; run again to resume"
                self._end(pipe, job, "crashed", text)
                continue
            if kind in ("stage", "note", "step", "image"):
                self.event(job, kind, facts)
            else:
                process.join()
                self._end(pipe, job, kind, facts["text"])

    def _end(self, pipe: Connection, job: Job, state: str, text: str) -> None:
        del self.running[pipe]
        pipe.close()
        self.outcomes.append(Outcome(job, state, text))
        self.event(job, state, {"text": text})


def context() -> BaseContext:
    """Return the cheapest safe way to start a process: libraries are imported once where forking is safe."""
    if "forkserver" in multiprocessing.get_all_start_methods() and sys.platform != "darwin":
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        return context
    return multiprocessing.get_context("spawn")


def _work(job: Job, pipe: Connection) -> None:
    """Execute one job in this process and tell the parent through ``pipe``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; a terminal would signal both
    told = 0.0

    def notify(kind: str, **facts: Any) -> None:
        nonlocal told
        if kind == "step" and pipe.poll():  # also true when the parent is gone
            raise KeyboardInterrupt
        if kind in ("stage", "note") or time.monotonic() - told > TICK_SECONDS:
            told = time.monotonic()
            pipe.send((kind, facts))

    def tell(state: str, text: str = "") -> None:
        pipe.send((state, {"text": text}))

    try:
        from benchmark.experiment import execute

        record = execute(job, notify)
        tell(record.state, record.error or "")
    except UserError as error:
        tell("refused", str(error))
    except (KeyboardInterrupt, BrokenPipeError):
        with suppress(OSError):  # the parent may be gone
            tell("interrupted", "stopped with a checkpoint; run again to resume")
    except Exception as error:
        lines = traceback.format_exc().strip().splitlines()
        tell("crashed", f"{type(error).__name__}: {error} ({lines[-3].strip() if len(lines) > 2 else ''})")
