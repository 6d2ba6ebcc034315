"""A checkpoint with an invalid optimizer state is refused when it is read, not in a later step."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from benchmark.models.segmenter import Segmenter
from benchmark.training import checkpoint
from benchmark.training.progress import Progress
from benchmark.training.trainer import Trainer
from tests.backbones import tiny_backbone
from tests.small import Head, OneBatch, method, protocol

pytestmark = pytest.mark.slow

Change = Callable[[dict[str, Any]], object]
KEY, STOP, STEPS = "of this run", 2, 4


def trainer_of(name: str) -> Trainer:
    made = method(name)
    segmenter = Segmenter(tiny_backbone("plain"), Head())
    return Trainer(protocol(STEPS, 2, 1e-3), 0, segmenter, made, OneBatch(), Accelerator(cpu=True))


@cache
def stopped(name: str) -> bytes:
    """The checkpoint of a method's run that was stopped after ``STOP`` of its ``STEPS``."""

    def stop(progress: Progress, losses: dict[str, float]) -> None:
        if progress.place == STOP:
            raise KeyboardInterrupt

    with TemporaryDirectory() as folder:
        with pytest.raises(KeyboardInterrupt):
            trainer_of(name).run(lambda step: {}, Path(folder) / "checkpoint", KEY, stop)
        return (Path(folder) / "checkpoint").read_bytes()


def resumed(name: str, change: Change, folder: Path) -> list[int]:
    """Return the iterations of a run that resumes from a method's changed checkpoint."""
    state = torch.load(io.BytesIO(stopped(name)), weights_only=True)
    change(state)
    torch.save(state, folder / "checkpoint")
    steps: list[int] = []
    trainer_of(name).run(
        lambda step: {}, folder / "checkpoint", KEY, lambda progress, losses: steps.append(progress.place)
    )
    return steps


def moments(change: Callable[[dict[str, Any]], object], side: str = "backbone") -> Change:
    """Return what changes the moments of the last parameter of one side that has some."""

    def changed(state: dict[str, Any]) -> None:
        _, last = max(state["optimizers"][side]["state"].items())
        change(last)

    return changed


def doubled(*keys: str) -> Change:
    """Return what makes values of a state twice as many, each of them twice."""
    return lambda last: last.update({key: torch.cat([last[key]] * 2) for key in keys})


DENSE: dict[str, Change] = {
    "shape": lambda last: last.update(exp_avg=torch.zeros(3, 2)),
    "broadcast": lambda last: last.update(exp_avg_sq=torch.zeros(1)),
    "type": lambda last: last.update(exp_avg=last["exp_avg"].long()),
    "missing": lambda last: last.pop("exp_avg_sq"),
    "number": lambda last: last.update(exp_avg=0.0),
    "steps": lambda last: last.update(step=torch.tensor(-1.0)),
    "steps of each": lambda last: last.update(step=torch.ones(2)),
    "no steps": lambda last: last.pop("step"),
}
SPARSE: dict[str, Change] = {
    "shape": doubled("exp_avg"),
    "type": lambda last: last.update(exp_avg_sq=last["exp_avg_sq"].double()),
    "missing": lambda last: last.pop("exp_avg"),
    "outside": lambda last: last["index"].__setitem__(0, 2**30),
    "below": lambda last: last["index"].__setitem__(0, -1),
    "twice": doubled("index", "exp_avg", "exp_avg_sq", "lengths", "steps"),
    "positions": lambda last: last.update(index=last["index"].float()),
    "lengths": doubled("lengths", "steps"),
    "negative": lambda last: last.update(
        lengths=torch.tensor([-1, len(last["index"]) + 1]), steps=torch.ones(2).long()
    ),
    "steps": doubled("steps"),
    "late": lambda last: last.update(steps=torch.tensor([2**63 - 1])),
    "left": lambda last: last.update(left=torch.tensor([2**30], dtype=torch.int32)),
    "no cohorts": lambda last: last.pop("lengths"),
}


def option(name: str, value: object) -> Change:
    return lambda state: state["optimizers"]["backbone"]["param_groups"][0].update({name: value})


@pytest.mark.parametrize("name", ["full", "random"])
def test_a_valid_checkpoint_is_resumed(name: str, tmp_path: Path) -> None:
    assert resumed(name, lambda state: None, tmp_path) == [STOP + 1, STEPS]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *(pytest.param("full", moments(change), id=f"dense {name}") for name, change in DENSE.items()),
        *(pytest.param("random", moments(change), id=f"sparse {name}") for name, change in SPARSE.items()),
        ("full", lambda state: state["optimizers"]["backbone"]["param_groups"][0].pop("initial_lr")),
        ("full", option("weight_decay", "none")),
        ("full", option("betas", 0.9)),
        ("random", option("eps", float("nan"))),
    ],
)
def test_invalid_optimizer_moments_are_refused(name: str, change: Change, tmp_path: Path) -> None:
    with pytest.raises(checkpoint.UnfitError, match=r"checkpoint: not a checkpoint of this program \("):
        resumed(name, change, tmp_path)
