"""Ctrl-C: the first stops the sweep after the current step, with a checkpoint; the second ends it at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from benchmark.runs.distributed import AGAIN_SECONDS, _StopRequest
from tests.faults.conftest import Sweep, files
from tests.warm import ROOT, Warm, until

SECONDS = 2.0
HANG = """
import pathlib, time
def hang(*args, **more):
    pathlib.Path("{mark}").write_text("here")
    time.sleep(60)
patch("benchmark.{place}", hang)
"""
"""Code that makes a command hang in a function; the file ``mark`` shows when it has got there."""


def alive(group: int) -> bool:
    """Return whether a process of the group is running; zombies do not count."""
    for process in psutil.process_iter(["status"]):
        with suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                return True
    return False


def all_ended(group: int) -> bool:
    """Return whether all processes of the group end within a few seconds."""
    deadline = time.monotonic() + 10 * SECONDS
    while alive(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.slow
def test_the_first_interrupt_stops_soon_with_a_checkpoint(
    tmp_path: Path, tiny_protocol: Callable[..., Path], warm: Warm, sweep: Sweep
) -> None:
    tiny_protocol(iterations=600, evaluation={"times": 1})
    durations = []
    for attempt in range(3):  # on a busy machine, one attempt may be too slow
        output = tmp_path / f"output{attempt}"
        pid = warm.start(sweep("runs", "full"), output)
        until(output, "/600")
        began = time.monotonic()
        os.killpg(pid, signal.SIGINT)  # to all processes, as a terminal does
        assert warm.wait(pid) == 130
        durations.append(time.monotonic() - began)
        assert output.read_text().splitlines()[-1] == "interrupted"
        assert all_ended(pid)
        assert files(tmp_path / "runs") == {"tiny/vit-tiny-random/full/seed0.checkpoint"}
        if durations[-1] < SECONDS:
            break
    assert min(durations) < SECONDS
    state = torch.load(tmp_path / "runs/tiny/vit-tiny-random/full/seed0.checkpoint", weights_only=True)
    assert 0 < state["progress"]["step"] < 600


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    [
        "runs.experiment.evaluate",
        "training.trainer.Trainer.estimation",
        "training.trainer.Trainer.step",
        "runs.one_run.write",
    ],
)
def test_the_second_interrupt_ends_everything_at_once(place: str, tmp_path: Path, warm: Warm, sweep: Sweep) -> None:
    mark = tmp_path / "mark"
    pid = warm.start(sweep("runs", "fishertune"), tmp_path / "output", HANG.format(mark=mark, place=place))
    until(mark, "here")
    os.killpg(pid, signal.SIGINT)
    time.sleep(0.2)
    assert alive(pid)
    began = time.monotonic()
    os.killpg(pid, signal.SIGINT)
    assert warm.wait(pid) == 130
    assert time.monotonic() - began < 10 * SECONDS
    assert all_ended(pid)
    assert "Traceback" not in (tmp_path / "output").read_text()


@pytest.mark.slow
def test_the_first_interrupt_ends_a_run_that_is_still_loading(tmp_path: Path, warm: Warm, sweep: Sweep) -> None:
    mark = tmp_path / "mark"
    hang = HANG.format(mark=mark, place="runs.experiment.build_decoder")
    pid = warm.start(sweep("runs", "full"), tmp_path / "output", hang)
    until(mark, "here")
    os.killpg(pid, signal.SIGINT)
    assert warm.wait(pid) == 130
    assert all_ended(pid)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_interrupt_ends_rendering(number: signal.Signals, tmp_path: Path, warm: Warm) -> None:
    """A command that ended without stopping its workers would leave semaphores, of which Python warns."""
    output, folder = tmp_path / "output", tmp_path / "streets"
    pid = warm.start(["data", "render", "--output", folder], output)
    deadline = time.monotonic() + 120
    while not any(tmp_path.rglob("*.png")):
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.05)
    (os.kill if number == signal.SIGTERM else os.killpg)(pid, number)
    assert warm.wait(pid) == 130
    assert all_ended(pid)
    assert output.read_text().splitlines() == ["interrupted"]


def test_every_rank_ends_at_the_second_interrupt() -> None:
    """torchrun forwards each signal to all ranks."""
    child = os.fork()
    if not child:
        with _StopRequest() as told:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)  # the same request, forwarded in two ways
            if told.here:
                time.sleep(AGAIN_SECONDS + 0.1)
                signal.raise_signal(signal.SIGTERM)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130


SERVER = """
from multiprocessing.forkserver import _forkserver
from benchmark.runs import pool
pool.start_server(3)
print(_forkserver._forkserver_pid, flush=True)
input()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads from /proc which signals a process ignores")
def test_the_process_that_imports_libraries_ignores_interrupts() -> None:
    """A terminal sends Ctrl-C to it as well; a traceback out of its imports would follow."""
    words = [sys.executable, "-c", SERVER]
    with subprocess.Popen(words, cwd=ROOT, stdin=-1, stdout=-1, text=True, start_new_session=True) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        status = Path(f"/proc/{server.pid}/status").read_text()
        (ignored,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn"))
        assert ignored & 1 << signal.SIGINT - 1
        assert server.environ()["OMP_NUM_THREADS"] == "3"
        os.killpg(parent.pid, signal.SIGKILL)
