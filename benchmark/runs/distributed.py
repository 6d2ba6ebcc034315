"""Runs in which several processes share each batch, as ``accelerate launch`` and ``torchrun`` start them."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmark.common.errors import LostWorkerError
from benchmark.runs import lock
from benchmark.runs.job import Job
from benchmark.runs.pool import ELSEWHERE, POLL_SECONDS, Event, Outcome, Stamp, holding, made_since, stamp

if TYPE_CHECKING:
    from accelerate import PartialState

LEFT_ALONE = (
    "another process of this run has ended, as what it wrote itself may tell; "
    "start all again to go on from the last checkpoint"
)
AGAIN_SECONDS = 0.5
"""How long after a signal another one is the same wish to stop, as where a terminal and torchrun both pass it on."""
INTERRUPTED = 130
STATES = ("", "finished", "failed", "taken")
"""What the first of several processes tells the others by number; "" to execute the run."""


def run_here(jobs: Sequence[Job], event: Event, before: Mapping[Job, Stamp] | None = None) -> list[Outcome]:
    """Execute jobs one after another in this process (used under ``accelerate launch`` and ``torchrun``).

    Where another process of the run ends too early, the job has crashed, and those behind it are left.

    Args:
        jobs: what to execute.
        event: told of each.
        before: stamps of their records when they were found due; as they are now if None.

    Raises:
        KeyboardInterrupt: after a signal to any of the processes, on all of them at the end of the same step, with a
            checkpoint.
    """
    before = before or {job: stamp(job) for job in jobs}
    outcomes: list[Outcome] = []
    waiting, elsewhere = deque(jobs), deque[Job]()
    named: set[Job] = set()
    watch = lock.Watch()
    with _Told() as told:
        while waiting or elsewhere:
            if not waiting:
                time.sleep(POLL_SECONDS)
                if told.anywhere():
                    raise KeyboardInterrupt
            job = (waiting or elsewhere).popleft()
            outcome = _shared(job, before[job], event, told, watch)
            if outcome.state == "taken":
                elsewhere.append(job)
            else:
                outcomes.append(outcome)
            if outcome.state != "taken" or job not in named:
                event(job, outcome.state, {"text": outcome.text})
                named.add(job)
            if outcome.state == "crashed":
                break
    return outcomes


def _shared(job: Job, before: Stamp, event: Event, told: _Told, watch: lock.Watch) -> Outcome:
    """Execute a job together with the other processes, of which the first has to have claimed it; or say why not."""
    from benchmark.runs.experiment import execute

    def notify(kind: str, **facts: Any) -> None:
        if kind == "step" and told.anywhere():
            raise KeyboardInterrupt
        event(job, kind, facts)

    with ExitStack() as held:
        told_by_first = Outcome(job, "", "")
        watched = notify
        if _first():
            told_by_first, claim = _claimed(job, before, watch, held)
            if claim is not None:
                watched = partial(holding, claim, notify)
        state = STATES[_agreed(STATES.index(told_by_first.state))]
        if state:
            return Outcome(job, state, told_by_first.text)
        try:
            record = execute(job, watched)
            return Outcome(job, record.state, record.error or "")
        except LostWorkerError as error:
            return Outcome(job, "crashed", str(error))
        except RuntimeError as error:
            if not _alone(error):
                raise
            return Outcome(job, "crashed", LEFT_ALONE)


def _claimed(job: Job, before: Stamp, watch: lock.Watch, held: ExitStack) -> tuple[Outcome, lock.RunLock | None]:
    """Claim the job until ``held`` ends; the outcome has no state where it is to be executed."""
    try:
        if (owner := watch.owner(job.record)) is not None:
            raise lock.LockedError(owner)
        claim = held.enter_context(lock.RunLock(job.record))
    except lock.LockedError as taken:
        return Outcome(job, "taken", str(taken)), None
    if (record := made_since(job, before)) is not None:
        return Outcome(job, record.state, record.error or ELSEWHERE), None
    return Outcome(job, "", ""), claim


def _alone(error: RuntimeError) -> bool:
    """Return whether the error tells that a process of this run is gone; gloo has no exception of its own for it."""
    from torch import distributed

    together = distributed.is_available() and distributed.is_initialized()
    return together and (isinstance(error, distributed.DistError) or "gloo" in str(error))


class _Told:
    """Whether a process of this run was told to stop; processes that stop at different steps would wait for ever.

    Within the context a signal is noted, and nothing else; a second one ends this process at once, and torchrun the
    others.
    """

    def __init__(self) -> None:
        self.here, self.since = False, 0.0

    def __enter__(self) -> _Told:
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

    def anywhere(self) -> bool:
        """Return the same on every process; all of them have to ask."""
        return _agreed(int(self.here)) > 0


def _agreed(number: int) -> int:
    """Return the sum of all processes' numbers; all of them have to ask."""
    import torch
    from accelerate.utils import reduce

    return int(reduce(torch.tensor([float(number)], device=_processes().device), "sum"))


def _first() -> bool:
    return bool(_processes().is_main_process)


def _processes() -> PartialState:
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())
