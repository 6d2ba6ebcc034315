"""SIGTERM to all processes of a job at once, as schedulers send it: the run stops as if only the first received it."""

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
from tests.faults.conftest import Sweep, files
from tests.warm import Warm, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only on Linux do data-loader workers ignore SIGTERM"),
]
WORKERS, SECONDS = 2, 60
FORKSERVER = "patch('benchmark.runs.pool.context', lambda: multiprocessing.get_context('forkserver'))\n"
"""Code that starts runs from a fork server, which receives SIGTERM, too."""


def started(warm: Warm, args: list[str | Path], output: Path, code: str = "") -> tuple[int, list[psutil.Process]]:
    """Start a run with data-loader workers; return its process ID, and all its processes once it trains."""
    pid = warm.start([*args, "--data-workers", str(WORKERS)], output, code)
    until(output, "/100000")
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:  # the first step can end before the second worker has started
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        if any(len(workers_of(process)) == WORKERS for process in processes[1:]):
            return pid, processes
        time.sleep(0.05)
    raise AssertionError("no data-loader workers")


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """Return the children that have left the process group."""
    return [child for child in process.children() if os.getpgid(child.pid) == child.pid]


@pytest.mark.parametrize("code", ["", FORKSERVER], ids=["fork", "forkserver"])
def test_a_job_whose_processes_are_all_terminated_stops_with_a_checkpoint(
    code: str, tmp_path: Path, tiny_protocol: Callable[..., Path], warm: Warm, sweep: Sweep
) -> None:
    tiny_protocol(iterations=100_000, evaluation={"times": 1})
    output = tmp_path / "output"
    pid, processes = started(warm, sweep("runs", "full"), output, code)
    for process in reversed(processes):  # workers first, which must not end before the run does
        process.send_signal(signal.SIGTERM)
    assert warm.wait(pid) == 130
    *_, line = output.read_text().splitlines()
    assert line == "interrupted"
    assert "crashed" not in output.read_text()
    assert gone(processes)
    assert files(tmp_path / "runs") == {"tiny/vit-tiny-random/full/seed0.checkpoint"}
    state = torch.load(tmp_path / "runs/tiny/vit-tiny-random/full/seed0.checkpoint", weights_only=True)
    assert 0 < state["progress"]["step"] < 100_000


def test_terminated_data_loader_workers_keep_working_and_end_with_a_killed_run(
    tmp_path: Path, tiny_protocol: Callable[..., Path], warm: Warm, sweep: Sweep
) -> None:
    tiny_protocol(iterations=100_000, evaluation={"times": 1})
    pid, processes = started(warm, sweep("runs", "freeze"), tmp_path / "output")
    (run,) = (process for process in processes if len(workers_of(process)) == WORKERS)
    workers = workers_of(run)
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    before = [worker.cpu_times().user for worker in workers]
    deadline = time.monotonic() + SECONDS
    while not all(worker.cpu_times().user > used for worker, used in zip(workers, before, strict=True)):
        assert time.monotonic() < deadline, "a worker does nothing"
        time.sleep(0.1)
    assert all(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers)
    os.killpg(pid, signal.SIGKILL)
    assert warm.wait(pid) == -signal.SIGKILL
    assert gone(workers)
