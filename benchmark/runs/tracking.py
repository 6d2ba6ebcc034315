"""``run --track``: log a run's losses and scores to TensorBoard or Weights & Biases, through accelerate.

Tracking does not change a run's record. Nothing leaves this machine: W&B writes offline, ``wandb sync`` uploads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.common.atomic import writing
from benchmark.common.errors import UserError
from benchmark.training.progress import Progress

if TYPE_CHECKING:
    from benchmark.runs.job import Job

FOLDER = ".tracking"
"""A hidden folder among the records, so that W&B's own JSON files are not taken for records."""
EVERY = 10
"""Iterations between two logged losses; each entry is flushed to disk."""
VIEW = {"tensorboard": "tensorboard --logdir {place}", "wandb": "wandb sync {place}/wandb/offline-run-*"}
"""How to view a tracker's logs."""
Evaluate = Callable[[int], dict[str, Any]]
Tick = Callable[[Progress, dict[str, float]], None]


def require(tracker: str) -> None:
    """Check that a tracker is installed.

    Raises:
        UserError: it is not.
    """
    if find_spec(tracker) is None:
        raise UserError(f"--track {tracker}: not installed; install it with: pip install {tracker}")


class RunTracker:
    """Logs one run; :meth:`logging_scores` and :meth:`logging_steps` wrap the callbacks of the training loop.

    Args:
        job: the run; nothing is logged unless its runtime options name a tracker.
        conditions: what decides the run's result, for the tracker's table of runs.
        main: whether this rank writes.
    """

    def __init__(self, job: Job, conditions: Mapping[str, Any], main: bool) -> None:
        name = job.runtime.tracker
        self.place = job.folder / FOLDER / str(name)
        self.hint = VIEW[name].format(place=self.place) if name else ""
        self._tracker: Any = None
        if name is None or not main:
            return
        with writing(self.place, "give another --records"):
            self.place.mkdir(parents=True, exist_ok=True)
        self._tracker = _tracker(job, self.place)
        self._tracker.start()
        self._tracker.store_init_configuration(_flat(conditions))

    def logging_steps(self, tick: Tick) -> Tick:
        """Return ``tick`` that also logs the losses; an exception in ``tick`` closes the tracker first."""

        def logged(progress: Progress, losses: dict[str, float]) -> None:
            if losses and progress.step % EVERY == 0:
                self._log({f"loss/{name}": value for name, value in losses.items()}, progress.step)
            try:
                tick(progress, losses)
            except BaseException:
                self.close()
                raise

        return logged

    def logging_scores(self, evaluate: Evaluate) -> Evaluate:
        """Return ``evaluate`` that also logs mIoU (a fraction) by domain, and its average over the targets."""

        def logged(step: int) -> dict[str, Any]:
            found = evaluate(step)
            source = {} if found["source"] is None else {"source": found["source"]}
            values = {"average": found["average"], **found["targets"], **source}
            self._log({f"mIoU/{name}": value for name, value in values.items()}, step)
            return found

        return logged

    def close(self) -> None:
        """Close the tracker, which otherwise loses entries if the process is killed."""
        if self._tracker is not None:
            self._tracker.finish()
            self._tracker = None

    def _log(self, values: dict[str, float], step: int) -> None:
        if self._tracker is not None:
            self._tracker.log(values, step=step)


def _tracker(job: Job, place: Path) -> Any:
    from accelerate.tracking import TensorBoardTracker, WandBTracker

    spec = job.spec
    name = f"{spec.protocol.name}/{spec.backbone}/{spec.method_name}/seed{spec.seed}"
    if job.runtime.tracker == "tensorboard":
        return TensorBoardTracker(name, place)
    return WandBTracker("dgss-benchmark", mode="offline", dir=str(place), name=name, group=spec.protocol.name)


def _flat(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conditions as a tracker shows them: hyperparameters by name, everything but numbers as text."""
    settings = {f"settings/{name}": value for name, value in conditions["settings"].items()}
    plain = {name: value for name, value in conditions.items() if name not in ("settings", "vfm")}
    return {
        name: value if isinstance(value, int | float | str) else str(value)
        for name, value in {**plain, **settings}.items()
    }
