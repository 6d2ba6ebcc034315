"""Execute runs whose ranks share each batch, as ``accelerate launch`` and ``torchrun`` start them."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from benchmark.common.errors import LostWorkerError
from benchmark.runs import lock
from benchmark.runs.events import Ended, Event, Listener, Locked, Notify, Step
from benchmark.runs.job import Job
from benchmark.runs.pool import ELSEWHERE, POLL_SECONDS, Outcome, Stamp, check_lock, stamp, written_since

if TYPE_CHECKING:
    from accelerate import PartialState

RANK_LOST = (
    "another rank of this run has ended; its own output may say why; start all ranks again to resume from the last "
    "checkpoint"
)
AGAIN_SECONDS = 0.5
"""Signals this close together are one request to stop, as when a terminal and torchrun both forward it."""
INTERRUPTED = 130


@dataclass(frozen=True)
class _Execute:
    """The first rank holds the run's lock, and all ranks execute it."""


Decision = _Execute | Ended | Locked
DECISIONS = (_Execute(), Ended("finished"), Ended("failed"), Locked(""))
"""What the first rank decides about a run; other ranks receive the position in this tuple."""


def run_on_ranks(jobs: Sequence[Job], listener: Listener, before: Mapping[Job, Stamp] | None = None) -> list[Outcome]:
    """Execute jobs one after another on this rank (under ``accelerate launch`` and ``torchrun``).

    If another rank ends early, the job has crashed, and the jobs after it are not started.

    Args:
        jobs: what to execute.
        listener: receives every job's events.
        before: stamps of the records when the jobs were found pending; the present ones if None.

    Raises:
        KeyboardInterrupt: after a signal to any rank, on all ranks at the end of the same step, with a checkpoint.
    """
    before = before or {job: stamp(job) for job in jobs}
    outcomes: list[Outcome] = []
    waiting, elsewhere = deque(jobs), deque[Job]()
    reported: set[Job] = set()
    watch = lock.Watch()
    with _StopRequest() as stop:
        while waiting or elsewhere:
            if not waiting:
                time.sleep(POLL_SECONDS)
                if stop.on_any_rank():
                    raise KeyboardInterrupt
            job = (waiting or elsewhere).popleft()
            event = _execute(job, before[job], listener, stop, watch)
            if isinstance(event, Locked):
                elsewhere.append(job)
            else:
                outcomes.append(Outcome(job, event.state, event.text))
            if isinstance(event, Ended) or job not in reported:
                listener(job, event)
                reported.add(job)
            if isinstance(event, Ended) and event.state == "crashed":
                break
    return outcomes


def _execute(job: Job, before: Stamp, listener: Listener, stop: _StopRequest, watch: lock.Watch) -> Ended | Locked:
    """Execute a job together with the other ranks; the first rank must hold its lock."""
    from benchmark.runs.execute import execute

    def notify(event: Event) -> None:
        if isinstance(event, Step) and stop.on_any_rank():
            raise KeyboardInterrupt
        listener(job, event)

    with ExitStack() as held:
        decision: Decision = _Execute()
        report: Notify = notify
        if _is_first():
            decision, run_lock = _decide(job, before, watch, held)
            if run_lock is not None:
                report = partial(check_lock, run_lock, notify)
        agreed = DECISIONS[_sum_over_ranks(_position(decision))]
        if not isinstance(agreed, _Execute):
            return decision if not isinstance(decision, _Execute) else agreed
        try:
            record = execute(job, report)
            return Ended.of(record)
        except LostWorkerError as error:
            return Ended("crashed", str(error))
        except RuntimeError as error:
            if not _lost_rank(error):
                raise
            return Ended("crashed", RANK_LOST)


def _decide(job: Job, before: Stamp, watch: lock.Watch, held: ExitStack) -> tuple[Decision, lock.RunLock | None]:
    """Lock the job until ``held`` ends, unless another process holds it or has finished it."""
    try:
        if (owner := watch.owner(job.record)) is not None:
            raise lock.LockedError(owner)
        run_lock = held.enter_context(lock.RunLock(job.record))
    except lock.LockedError as error:
        return Locked(str(error)), None
    if (record := written_since(job, before)) is not None:
        return Ended.of(record, ELSEWHERE), None
    return _Execute(), run_lock


def _position(decision: Decision) -> int:
    """Return a decision's position in :data:`DECISIONS`, whatever text it has."""
    kinds = [(type(each), getattr(each, "state", None)) for each in DECISIONS]
    return kinds.index((type(decision), getattr(decision, "state", None)))


def _lost_rank(error: RuntimeError) -> bool:
    """Return whether the error means that another rank is gone; gloo has no exception of its own for it."""
    from torch import distributed

    several = distributed.is_available() and distributed.is_initialized()
    return several and (isinstance(error, distributed.DistError) or "gloo" in str(error))


class _StopRequest:
    """Whether a rank was signalled to stop. Ranks that stop at different steps would wait for each other forever.

    Within the context a signal is only noted. A second one ends this process at once, and torchrun ends the others.
    """

    def __init__(self) -> None:
        self.here, self.since = False, 0.0

    def __enter__(self) -> _StopRequest:
        self.before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if self.here and now - self.since > AGAIN_SECONDS:
            os._exit(INTERRUPTED)
        if not self.here:
            self.here, self.since = True, now

    def on_any_rank(self) -> bool:
        """Return the same value on every rank; all of them must call it."""
        return _sum_over_ranks(int(self.here)) > 0


def _sum_over_ranks(number: int) -> int:
    """Return the sum of all ranks' numbers; all of them must call it."""
    import torch
    from accelerate.utils import reduce

    return int(reduce(torch.tensor([float(number)], device=_state().device), "sum"))


def _is_first() -> bool:
    return bool(_state().is_main_process)


def _state() -> PartialState:
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())
