"""Several sweeps share a records folder: each run is executed once, with and without working ``flock``."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from benchmark.records import read_all
from tests.faults.conftest import Sweep, files, finished_by
from tests.warm import EVERY_STEP, Warm, until

pytestmark = pytest.mark.slow
FLOCK = {
    "works": "",
    "missing": "import errno, fcntl\n"
    "def flock(*args): raise OSError(errno.ENOLCK, 'No locks available')\n"
    "fcntl.flock = flock\n",
    "ignored": "import fcntl\nfcntl.flock = lambda *args: None\n",
}
"""Code that simulates network file systems: ``flock`` fails, or succeeds without locking anything."""
ELSEWHERE = """
patch("benchmark.runs.lock._machine", lambda: "another machine")
patch("benchmark.runs.lock.HEARTBEAT_SECONDS", 0.05)
"""
"""Code that makes a command look as if it ran on another machine, with frequent heartbeats."""
POLL = "patch('benchmark.runs.pool.POLL_SECONDS', 0.05)\n"
STALE = "patch('benchmark.runs.lock.STALE_SECONDS', 1.0)\n"


def waits(output: Path) -> int:
    """Return how often a sweep reported that another process executes the run of ``full``."""
    return len(re.findall(r"tiny vit-tiny-random full seed 0 .*process \d+ on ", output.read_text()))


@pytest.mark.parametrize(("sweeps", "flock"), [(2, "works"), (8, "missing"), (3, "ignored")])
def test_sweeps_that_start_together_share_the_runs(
    sweeps: int, flock: str, tmp_path: Path, warm: Warm, sweep: Sweep
) -> None:
    args = sweep("runs", "freeze,full", "--seeds", "0,1")
    outputs = [tmp_path / f"output{number}" for number in range(sweeps)]
    codes = [warm.wait(pid) for pid in [warm.start(args, path, FLOCK[flock] + POLL) for path in outputs]]
    assert codes == [0] * sweeps, outputs[0].read_text()
    done = [run for path in outputs for run in finished_by(path)]
    assert sorted(done) == sorted(f"{name} seed {seed}" for name in ("freeze", "full") for seed in (0, 1))
    assert len(read_all(tmp_path / "runs", verify=True)) == 4
    assert {Path(name).suffix for name in files(tmp_path / "runs")} == {".json", ".npz", ".safetensors"}
    for path in outputs:  # each sweep waited for the others and prints all results
        assert "4 of 4 records" in path.read_text()


def test_a_locked_run_is_skipped_and_taken_over_when_its_owner_is_killed(
    tmp_path: Path, warm: Warm, sweep: Sweep
) -> None:
    first = warm.start(sweep("runs", "full"), tmp_path / "first", EVERY_STEP)
    until(tmp_path / "first", "/12")
    os.killpg(first, signal.SIGSTOP)  # simulates a long run
    second = warm.start(sweep("runs", "full,freeze"), tmp_path / "second", POLL)
    until(tmp_path / "second", "freeze seed 0 finished")
    os.killpg(first, signal.SIGKILL)
    assert warm.wait(first) == -signal.SIGKILL
    assert warm.wait(second) == 0
    assert waits(tmp_path / "second") == 1
    assert finished_by(tmp_path / "second") == ["freeze seed 0", "full seed 0"]


def test_a_run_that_another_sweep_has_just_repeated_is_not_repeated_again(
    tmp_path: Path, warm: Warm, sweep: Sweep
) -> None:
    assert warm.wait(warm.start(sweep(), tmp_path / "before")) == 0
    outputs = [tmp_path / f"output{number}" for number in range(2)]
    for pid in [warm.start(sweep("runs", "freeze,full", "--force"), path, POLL) for path in outputs]:
        assert warm.wait(pid) == 0
    assert sorted(run for path in outputs for run in finished_by(path)) == ["freeze seed 0", "full seed 0"]


def test_a_lock_of_another_machine_is_taken_over_when_heartbeats_time_out(
    tmp_path: Path, warm: Warm, sweep: Sweep
) -> None:
    """As when a scheduler kills a job and starts it again on another node."""
    first = warm.start(sweep("runs", "full"), tmp_path / "first", ELSEWHERE + EVERY_STEP)
    until(tmp_path / "first", "/12")
    os.killpg(first, signal.SIGKILL)
    began = time.monotonic()
    assert warm.wait(warm.start(sweep("runs", "full"), tmp_path / "second", POLL + STALE)) == 0
    assert time.monotonic() - began > 1.0
    assert waits(tmp_path / "second")
    assert finished_by(tmp_path / "second") == ["full seed 0"]
    warm.wait(first)


def test_a_live_owner_on_another_machine_keeps_its_lock_although_clocks_differ(
    tmp_path: Path, warm: Warm, sweep: Sweep
) -> None:
    slow = """
import time
from benchmark.runs.experiment import evaluate
patch("benchmark.runs.experiment.evaluate", lambda *args: (time.sleep(1), evaluate(*args))[1])
"""
    past = """
import itertools, os
utime, moments = os.utime, itertools.count(10**18, -(10**12))  # years ago and running backwards
os.utime = lambda path: utime(path, ns=(moment := next(moments), moment))
"""
    first = warm.start(sweep("runs", "full"), tmp_path / "first", ELSEWHERE + slow + past)
    until(tmp_path / "first", "/12")
    assert warm.wait(warm.start(sweep("runs", "full"), tmp_path / "second", POLL + STALE)) == 0
    assert warm.wait(first) == 0
    assert finished_by(tmp_path / "first") == ["full seed 0"]
    assert finished_by(tmp_path / "second") == []
    assert waits(tmp_path / "second")
    assert re.search(r"full seed 0 finished: .*another process", (tmp_path / "second").read_text())


def test_a_terminated_sweep_releases_its_locks(tmp_path: Path, warm: Warm, sweep: Sweep) -> None:
    """As when a job is preempted and starts again on another machine."""
    pid = warm.start(sweep("runs", "full"), tmp_path / "first", ELSEWHERE)
    until(tmp_path / "first", "/12")
    os.kill(pid, signal.SIGTERM)
    assert warm.wait(pid) == 130
    assert files(tmp_path / "runs") == {"tiny/vit-tiny-random/full/seed0.checkpoint"}
    assert warm.wait(warm.start(sweep("runs", "full"), tmp_path / "second")) == 0
    assert waits(tmp_path / "second") == 0
