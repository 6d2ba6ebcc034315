"""``run --track``: a run's losses and scores in TensorBoard or Weights & Biases as it goes, through accelerate.

Trackers only listen: a tracked run ends with the record that it would have had. Nothing leaves this machine; what W&B
writes offline is sent by whoever wants to, with ``wandb sync``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.common.atomic import writing
from benchmark.common.errors import UserError

if TYPE_CHECKING:
    from benchmark.runs.job import Job

FOLDER = ".tracking"
"""Among the records, and hidden from whoever looks for them: W&B writes JSON files of its own."""
EVERY = 10
"""Iterations from one entry of losses to the next; each is flushed to disk."""
SEEN = {"tensorboard": "tensorboard --logdir {place}", "wandb": "wandb sync {place}/wandb/offline-run-*"}
"""How to look at what a tracker wrote."""
Score = Callable[[int], dict[str, Any]]
Tick = Callable[[int, dict[str, float]], None]


def require(tracker: str) -> None:
    """Check that a tracker is installed.

    Raises:
        UserError: it is not; the line says how to get it.
    """
    if find_spec(tracker) is None:
        raise UserError(f"--track {tracker}: it is not installed; get it by: pip install {tracker}")


class Follower:
    """Tells a tracker of one run; use its :meth:`scores` and :meth:`steps` in the place of what they are given.

    Args:
        job: the run; with no ``tracker`` nothing is done at all.
        conditions: what decides the run's result, for the tracker's table of runs.
        main: whether this process is the one that writes.
    """

    def __init__(self, job: Job, conditions: Mapping[str, Any], main: bool) -> None:
        self.place = job.folder / FOLDER / str(job.tracker)
        self.hint = SEEN[job.tracker].format(place=self.place) if job.tracker else ""
        self._tracker: Any = None
        if job.tracker is None or not main:
            return
        with writing(self.place, "give another --records"):
            self.place.mkdir(parents=True, exist_ok=True)
        self._tracker = _tracker(job, self.place)
        self._tracker.start()
        self._tracker.store_init_configuration(_flat(conditions))

    def steps(self, tick: Tick) -> Tick:
        """Return ``tick`` that also tells of the losses; whatever it raises ends the tracker's run first."""

        def told(step: int, losses: dict[str, float]) -> None:
            if losses and step % EVERY == 0:
                self._log({f"loss/{name}": value for name, value in losses.items()}, step)
            try:
                tick(step, losses)
            except BaseException:
                self.end()
                raise

        return told

    def scores(self, score: Score) -> Score:
        """Return ``score`` that also tells of mIoU (fractions) by domain and of the targets' average."""

        def told(step: int) -> dict[str, Any]:
            found = score(step)
            source = {} if found["source"] is None else {"source": found["source"]}
            values = {"average": found["average"], **found["targets"], **source}
            self._log({f"mIoU/{name}": value for name, value in values.items()}, step)
            return found

        return told

    def end(self) -> None:
        """Close what is open; a process that ends by itself would lose it."""
        if self._tracker is not None:
            self._tracker.finish()
            self._tracker = None

    def _log(self, values: dict[str, float], step: int) -> None:
        if self._tracker is not None:
            self._tracker.log(values, step=step)


def _tracker(job: Job, place: Path) -> Any:
    from accelerate.tracking import TensorBoardTracker, WandBTracker

    name = f"{job.protocol.name}/{job.backbone}/{job.method_name}/seed{job.seed}"
    if job.tracker == "tensorboard":
        return TensorBoardTracker(name, place)
    return WandBTracker("dgss-benchmark", mode="offline", dir=str(place), name=name, group=job.protocol.name)


def _flat(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conditions as a tracker can show them: settings by name, anything but a number as text."""
    settings = {f"settings/{name}": value for name, value in conditions["settings"].items()}
    plain = {name: value for name, value in conditions.items() if name not in ("settings", "vfm")}
    return {
        name: value if isinstance(value, int | float | str) else str(value)
        for name, value in {**plain, **settings}.items()
    }
