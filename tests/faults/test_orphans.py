"""No process outlives its parent, whichever is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil
import pytest

from benchmark.common.orphans import exit_with_parent
from tests.data.test_workers import gone
from tests.warm import shared

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
SECONDS = 120


def _use_pool(path: str) -> None:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), exit_with_parent) as pool:
        pool.submit(os.getpid).result()
        Path(path).touch()
        time.sleep(SECONDS)


def test_idle_workers_of_a_killed_process_end(tmp_path: Path) -> None:
    parent = multiprocessing.get_context("spawn").Process(target=_use_pool, args=(str(tmp_path / "ready"),))
    parent.start()
    assert parent.pid is not None
    end = time.monotonic() + SECONDS
    while not (tmp_path / "ready").exists() and time.monotonic() < end:
        time.sleep(0.05)
    workers = psutil.Process(parent.pid).children(recursive=True)
    assert workers
    parent.kill()
    parent.join()
    assert gone(workers)


def test_rendering_workers_of_a_killed_command_end(tmp_path: Path) -> None:
    words: list[str | Path] = ["data", "render", "--protocol", "streets", "--output", tmp_path / "rendered"]
    pid = shared().start(words, tmp_path / "output", forks=False)
    command, end = psutil.Process(pid), time.monotonic() + SECONDS
    while not list(tmp_path.rglob("*.png")) and time.monotonic() < end:
        assert command.is_running(), (tmp_path / "output").read_text()
        time.sleep(0.05)
    workers = command.children(recursive=True)
    assert workers
    os.kill(pid, signal.SIGKILL)
    assert gone(workers)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a command with its parent")
def test_a_command_ends_with_the_process_that_runs_it() -> None:
    lines = (
        "import subprocess, sys",
        "from benchmark.common.orphans import ENDING",
        f"subprocess.run([sys.executable, '-c', 'import time; time.sleep({SECONDS})'], preexec_fn=ENDING)",
    )
    parent = psutil.Popen([sys.executable, "-c", "\n".join(lines)])
    end = time.monotonic() + SECONDS
    while not (commands := parent.children()) and time.monotonic() < end:
        time.sleep(0.02)
    assert commands
    time.sleep(0.2)  # the command itself runs, no longer the fork of the parent
    parent.kill()
    parent.wait()
    assert gone(commands)
