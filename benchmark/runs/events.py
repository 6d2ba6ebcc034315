"""What a run reports while it is under way. Typed, so that no decision depends on words shown to people."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from benchmark.records import Record
    from benchmark.runs.job import Job

State = Literal["finished", "failed", "refused", "crashed", "interrupted"]


@dataclass(frozen=True)
class Loading:
    """Data, weights and models are being loaded; a run stopped now has nothing to save."""


@dataclass(frozen=True)
class Training:
    """The training loop has started or continues; a run stopped from here on writes a checkpoint.

    Attributes:
        phase: what is trained or estimated, for display.
    """

    phase: str = "training"


@dataclass(frozen=True)
class Evaluating:
    """The model is being evaluated.

    Attributes:
        iteration: training iterations done.
    """

    iteration: int


@dataclass(frozen=True)
class Queued:
    """A submitted run waits in the cluster's queue.

    Attributes:
        state: as the queue reports it, in lower case.
    """

    state: str


@dataclass(frozen=True)
class Note:
    """Something the user should know about data or files."""

    text: str


@dataclass(frozen=True)
class Step:
    """One step is done: a training iteration, or a step on top of them.

    Attributes:
        step, total: steps done, and of the whole run.
        losses: named losses of the batch; none where the step only estimates.
    """

    step: int
    total: int
    losses: Mapping[str, float]


@dataclass(frozen=True)
class ImageEvaluated:
    """One more image is evaluated."""


@dataclass(frozen=True)
class Locked:
    """Another process holds the run's lock.

    Attributes:
        owner: host and process, for display.
    """

    owner: str


@dataclass(frozen=True)
class Ended:
    """The run has ended.

    Attributes:
        state: how.
        text: one line about it; may be empty.
        average: mean mIoU over the targets (fraction), of a finished run where it is known.
    """

    state: State
    text: str = ""
    average: float | None = None

    @classmethod
    def of(cls, record: Record, text: str = "") -> Ended:
        """Return the end that a run's record states, with ``text`` unless the record says why the run failed."""
        return cls(record.state, record.error or text, record.average)


Event = Loading | Training | Evaluating | Queued | Note | Step | ImageEvaluated | Locked | Ended
Notify = Callable[[Event], None]
"""Receives the events of one run."""
Listener = Callable[["Job", Event], None]
"""Receives the events of several runs."""
KINDS = {kind.__name__: kind for kind in get_args(Event)}


def ignore(event: Event) -> None:
    """Receive an event and do nothing."""


def to_json(event: Event) -> str:
    """Return an event as one line of JSON."""
    return json.dumps([type(event).__name__, asdict(event)])


def from_json(line: bytes | str) -> Event:
    """Return the event that :func:`to_json` wrote."""
    kind, fields = json.loads(line)
    event: Event = KINDS[kind](**fields)
    return event
