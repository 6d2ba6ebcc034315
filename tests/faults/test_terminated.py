"""SIGTERM to every process of a job at once, as a scheduler sends it: the run stops as if it had come to the first."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from tests.data.test_workers import gone
from tests.faults.conftest import Words, files
from tests.faults.test_several import until
from tests.faults.warm import Warm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a loader ends at anybody's SIGTERM")
WORKERS, SECONDS = 2, 60
SERVED = "runs.context = lambda: multiprocessing.get_context('forkserver')\n"
"""Code that starts runs from a process which is there for that alone, and is told to end, too."""


def started(warm: Warm, words: list[str | Path], said: Path, first: str = "") -> tuple[int, list[psutil.Process]]:
    """Start a run with loaders; return its number, and all of its processes once it trains."""
    number = warm.start([*words, "--data-workers", str(WORKERS)], said, first)
    until(said, "/100000")
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:  # a step can be done before the second loader is there
        processes = [psutil.Process(number), *psutil.Process(number).children(recursive=True)]
        if any(len(workers_of(process)) == WORKERS for process in processes[1:]):
            return number, processes
        time.sleep(0.05)
    raise AssertionError("no loaders")


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """Return the children that have left the process's group."""
    return [child for child in process.children() if os.getpgid(child.pid) == child.pid]


@pytest.mark.parametrize("first", ["", SERVED], ids=["forked", "served"])
def test_a_job_that_is_terminated_as_a_whole_stops_with_a_checkpoint(
    first: str, tmp_path: Path, tiny_protocol: Callable[..., Path], warm: Warm, sweep: Words
) -> None:
    tiny_protocol(iterations=100_000, evaluation={"times": 1})
    said = tmp_path / "said"
    number, processes = started(warm, sweep("runs", "full"), said, first)
    for process in reversed(processes):  # loaders first, which must not end before the run does
        process.send_signal(signal.SIGTERM)
    assert warm.wait(number) == 130
    *_, line = said.read_text().splitlines()
    assert line == "interrupted"
    assert "crashed" not in said.read_text()
    assert gone(processes)
    assert files(tmp_path / "runs") == {"tiny/vit-tiny-random/full/seed0.checkpoint"}
    state = torch.load(tmp_path / "runs/tiny/vit-tiny-random/full/seed0.checkpoint", weights_only=True)
    assert 0 < state["progress"]["step"] < 100_000


def test_loaders_that_were_terminated_work_on_and_end_with_the_run_however_it_ends(
    tmp_path: Path, tiny_protocol: Callable[..., Path], warm: Warm, sweep: Words
) -> None:
    tiny_protocol(iterations=100_000, evaluation={"times": 1})
    number, processes = started(warm, sweep("runs", "freeze"), tmp_path / "said")
    (run,) = (process for process in processes if len(workers_of(process)) == WORKERS)
    loaders = workers_of(run)
    for loader in loaders:
        loader.send_signal(signal.SIGTERM)
    before = [loader.cpu_times().user for loader in loaders]
    _, alive = psutil.wait_procs(loaders, timeout=1)
    assert set(alive) == set(loaders)
    assert all(loader.cpu_times().user > used for loader, used in zip(loaders, before, strict=True))
    os.killpg(number, signal.SIGKILL)
    assert warm.wait(number) == -signal.SIGKILL
    assert gone(loaders)
