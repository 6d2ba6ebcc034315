"""Measures one method with the benchmark's own training step and evaluation."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from benchmark.data.loader import EvaluationItem
from benchmark.evaluation.evaluate import evaluate
from benchmark.models.segmenter import Segmenter
from benchmark.runs.spec import RunSpec
from benchmark.training.ranks import make_accelerator
from benchmark.training.schedule import Slot
from benchmark.training.trainer import Trainer
from tests.gpu.sizes import CLASSES, Models, Size, made_up

Row = dict[str, Any]
LEAST, SECONDS = 3, 6.0
"""After this many steps and this much time, no more steps of a phase are timed."""


@contextmanager
def accelerated(precision: str, *, cpu: bool = False) -> Iterator[Accelerator]:
    """Yield a run's accelerator; without a GPU, or with ``cpu``, the CPU's with the same precision.

    Accelerate fixes device and precision per process, so its state is reset before and after.

    Args:
        precision: ``float32``, or ``auto`` for bfloat16 autocast.
        cpu: use the CPU even if there is a GPU.
    """
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        if torch.cuda.is_available() and not cpu:
            yield make_accelerator(precision)
        else:
            yield Accelerator(cpu=True, mixed_precision="bf16" if precision == "auto" else "no")
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def measure(name: str, size: Size, models: Models, row: Row) -> None:
    """Write a method's measurements into ``row`` as they are made, so that what is known stays if one fails.

    ``peak_bytes`` is the peak of allocated GPU memory; None on a CPU.
    """
    with accelerated(size.protocol.precision) as accelerator:
        segmenter, began = models.segmenter(), time.perf_counter()
        trainer = make_trainer(name, size, segmenter, accelerator)
        _finish(accelerator.device)
        row["attach_seconds"] = time.perf_counter() - began
        row["label"] = trainer.method.label
        _train(trainer, size, row)
        _evaluate(trainer, size, row)


def peak_at(name: str, size: Size, models: Models, batch: int) -> int | None:
    """Return the peak memory of a method's training steps with another batch size."""
    other = replace(size, protocol=size.protocol.model_copy(update={"batch": batch}))
    with accelerated(size.protocol.precision) as accelerator:
        trainer = make_trainer(name, other, models.segmenter(), accelerator)
        places = _places(trainer.timeline)[0][-1]
        reset_peak(accelerator.device)
        for place in (places[0], places[-1]):
            _step(trainer, place, *_batch(trainer))
        return peak(accelerator.device)


def make_trainer(name: str, size: Size, segmenter: Segmenter, accelerator: Accelerator) -> Trainer:
    """Return the trainer of a method with its default hyperparameters."""
    data: Any = []  # batches are passed to the step
    method = RunSpec(size.protocol, size.backbone, name, 0).make_method()
    return Trainer(size.protocol, 0, segmenter, method, data, accelerator)


# -- training ----------------------------------------------------------------------------------------------


def _train(trainer: Trainer, size: Size, row: Row) -> None:
    """Time steps of the estimate, if there is one, and of tuning, at their places in a run of full length."""
    device, method, select = trainer.accelerator.device, trainer.method, trainer.method.select
    # The loop calls select() within a step, so it is timed there.
    method.select = lambda: row.update(select_seconds=timed(select, device))  # type: ignore[method-assign]
    tuning, estimate = _places(trainer.timeline)
    images, labels = _batch(trainer)

    def seconds(places: range) -> list[float]:
        found: list[float] = []
        for place in places[: size.steps]:
            found.append(timed(partial(_step, trainer, place, images, labels), device))
            if len(found) >= LEAST and sum(found) > SECONDS:
                break
        return found

    for places in estimate:
        reset_peak(device)
        _step(trainer, places[0], images, labels)  # warm-up
        found = seconds(places[1:-1][:LEAST])
        _step(trainer, places[-1], images, labels)  # and choose
        row["estimate"] = {
            "step_seconds": median(found), "steps_timed": len(found), "steps_of_run": len(places),
            "seconds_per_image": median(found) / len(images), "peak_bytes": peak(device),
        }  # fmt: skip
    reset_peak(device)
    *_, places = tuning
    # The first and the last step warm up: in some methods, they change which weights train, the last to all of them.
    for place in (places[0], places[-1], places[1]):
        _step(trainer, place, images, labels)
    found = seconds(places[2:-1])
    row.update(step_seconds=median(found), steps_timed=len(found), peak_bytes=peak(device))


def _places(timeline: list[Slot]) -> tuple[list[range], list[range]]:
    """Return the places of phases that train the backbone, and of estimates."""
    phases: dict[Any, list[int]] = {}
    for place, slot in enumerate(timeline):
        phases.setdefault(slot.phase, []).append(place)
    found = [(phase, range(places[0], places[-1] + 1)) for phase, places in phases.items()]
    tuning = [places for phase, places in found if phase.backbone and not phase.estimate]
    return tuning, [places for phase, places in found if phase.estimate]


def _batch(trainer: Trainer) -> tuple[Tensor, Tensor]:
    crop, device = trainer.protocol.augmentation.crop, trainer.accelerator.device
    images, labels = made_up(trainer.protocol.batch, crop, crop)
    return images.to(device), labels.to(device)


def _step(trainer: Trainer, place: int, images: Tensor, labels: Tensor) -> None:
    trainer.progress.step = place
    trainer.step(images, labels)


# -- evaluation --------------------------------------------------------------------------------------------


def _evaluate(trainer: Trainer, size: Size, row: Row) -> None:
    """Time sliding evaluation, in float32 as in a run."""
    device = trainer.accelerator.device
    images, labels = made_up(1, *size.frame)
    frame: EvaluationItem = {"image": images[0], "label": labels[0].byte(), "id": "made up"}

    def frames(count: int) -> None:
        evaluate(trainer.segmenter, [frame] * count, CLASSES, size.protocol.evaluation, device)

    reset_peak(device)
    frames(1)  # warm-up
    seconds = timed(lambda: frames(size.frames), device)
    row["evaluation"] = {
        "images_per_second": size.frames / seconds, "frames_timed": size.frames, "peak_bytes": peak(device)
    }  # fmt: skip


# -- the device --------------------------------------------------------------------------------------------


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of ``work``, until the device has finished."""
    _finish(device)
    began = time.perf_counter()
    work()
    _finish(device)
    return time.perf_counter() - began


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    """Forget the peak of allocated memory so far."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> int | None:
    """Return the peak of allocated memory in bytes; None on a CPU, where it is not counted."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def free() -> None:
    """Free the memory of models that are no longer used."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
