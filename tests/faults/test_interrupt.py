"""Ctrl-C: the first stops at the end of a step, with a checkpoint; the second ends everything at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from benchmark.runs.distributed import AGAIN_SECONDS, _StopRequest
from tests.faults.conftest import Words, files
from tests.faults.test_several import until
from tests.faults.warm import Warm

SECONDS = 2.0
NOTICED = """
import pathlib, time
def hang(*words, **more):
    pathlib.Path("{mark}").write_text("here")
    time.sleep(60)
from benchmark import experiment, training
{place} = hang
"""
"""Code that makes a command hang in one place, and tell when it is there."""


def alive(group: int) -> bool:
    """Return whether a process of the group is left; one that nobody has asked for its end is none."""
    for process in psutil.process_iter(["status"]):
        with suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                return True
    return False


def all_ended(group: int) -> bool:
    """Return whether all processes of the group end in a moment."""
    deadline = time.monotonic() + 10 * SECONDS
    while alive(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_the_first_stops_soon_with_a_checkpoint(
    tmp_path: Path, tiny_protocol: Callable[..., Path], warm: Warm, sweep: Words
) -> None:
    tiny_protocol(iterations=600, evaluation={"times": 1})
    taken = []
    for attempt in range(3):  # a machine that has something else to do may be late once
        said = tmp_path / f"said{attempt}"
        number = warm.start(sweep("runs", "full"), said)
        until(said, "/600")
        began = time.monotonic()
        os.killpg(number, signal.SIGINT)  # as a terminal does, to all of them
        assert warm.wait(number) == 130
        taken.append(time.monotonic() - began)
        assert said.read_text().splitlines()[-1] == "interrupted"
        assert all_ended(number)
        assert files(tmp_path / "runs") == {"tiny/vit-tiny-random/full/seed0.checkpoint"}
        if taken[-1] < SECONDS:
            break
    assert min(taken) < SECONDS
    state = torch.load(tmp_path / "runs/tiny/vit-tiny-random/full/seed0.checkpoint", weights_only=True)
    assert 0 < state["progress"]["step"] < 600


@pytest.mark.parametrize(
    "place", ["experiment.evaluate", "training.Trainer.estimation", "training.Trainer._named", "experiment.write"]
)
def test_the_second_ends_at_once_whatever_goes_on(place: str, tmp_path: Path, warm: Warm, sweep: Words) -> None:
    mark = tmp_path / "mark"
    number = warm.start(sweep("runs", "fishertune"), tmp_path / "said", NOTICED.format(mark=mark, place=place))
    until(mark, "here")
    os.killpg(number, signal.SIGINT)
    time.sleep(0.2)
    assert alive(number)
    began = time.monotonic()
    os.killpg(number, signal.SIGINT)
    assert warm.wait(number) == 130
    assert time.monotonic() - began < 10 * SECONDS
    assert all_ended(number)
    assert "Traceback" not in (tmp_path / "said").read_text()


def test_a_run_that_still_loads_ends_with_the_first(tmp_path: Path, warm: Warm, sweep: Words) -> None:
    mark = tmp_path / "mark"
    hang = NOTICED.format(mark=mark, place="experiment.build_decoder")
    number = warm.start(sweep("runs", "full"), tmp_path / "said", hang)
    until(mark, "here")
    os.killpg(number, signal.SIGINT)
    assert warm.wait(number) == 130
    assert all_ended(number)


def test_rendering_ends_with_the_first(tmp_path: Path, warm: Warm) -> None:
    said, place = tmp_path / "said", tmp_path / "streets"
    number = warm.start(["data", "render", "--output", place], said)
    deadline = time.monotonic() + 120
    while not any(tmp_path.rglob("*.png")):
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.05)
    os.killpg(number, signal.SIGINT)
    assert warm.wait(number) == 130
    assert said.read_text().splitlines() == ["interrupted"]
    assert all_ended(number)


def test_of_processes_that_share_a_run_each_ends_at_the_second() -> None:
    """torchrun passes every signal on to all of them."""
    child = os.fork()
    if not child:
        with _StopRequest() as told:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)  # the same wish, passed on in two ways
            if told.here:
                time.sleep(AGAIN_SECONDS + 0.1)
                signal.raise_signal(signal.SIGTERM)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
