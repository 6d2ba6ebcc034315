"""Several sweeps on one folder of records: no run twice, none lost, with locks and without."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from benchmark.records import read_all
from tests.faults.conftest import Words, done_by, files
from tests.faults.warm import EVERY_STEP, Warm

LOCKS = {
    "locks": "",
    "none": "import errno, fcntl\n"
    "def flock(*words): raise OSError(errno.ENOLCK, 'No locks available')\n"
    "fcntl.flock = flock\n",
    "pretended": "import fcntl\nfcntl.flock = lambda *words: None\n",
}
"""Code that makes of the folder one on a network: without locks, or with some that hold nobody back."""
ELSEWHERE = """
from benchmark import claims
claims._machine.cache_clear()
claims._machine = lambda: "another machine"
claims.BEAT_SECONDS = 0.05
"""
"""Code with which a command shares no processes with this machine, and beats quickly."""
OFTEN = "from benchmark import runs\nruns.POLL_SECONDS = 0.05\n"
STALE = "from benchmark import claims\nclaims.STALE_SECONDS = 1.0\n"


def until(path: Path, text: str) -> None:
    deadline = time.monotonic() + 120
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.01)


@pytest.mark.parametrize(("sweeps", "locks"), [(2, "locks"), (8, "none"), (3, "pretended")])
def test_sweeps_that_start_at_once_share_the_runs(
    sweeps: int, locks: str, tmp_path: Path, warm: Warm, sweep: Words
) -> None:
    words = sweep("runs", "freeze,full", "--seeds", "0,1")
    said = [tmp_path / f"said{number}" for number in range(sweeps)]
    codes = [warm.wait(each) for each in [warm.start(words, path, LOCKS[locks] + OFTEN) for path in said]]
    assert codes == [0] * sweeps, said[0].read_text()
    done = [run for path in said for run in done_by(path)]
    assert sorted(done) == sorted(f"{name} seed {seed}" for name in ("freeze", "full") for seed in (0, 1))
    assert len(read_all(tmp_path / "runs", verify=True)) == 4
    assert {Path(name).suffix for name in files(tmp_path / "runs")} == {".json", ".npz", ".safetensors"}
    for path in said:  # every one waited for the others, and shows all
        assert "4 of 4 records in" in path.read_text()


def test_a_run_is_left_to_who_is_at_it_and_taken_over_when_they_are_killed(
    tmp_path: Path, warm: Warm, sweep: Words
) -> None:
    first = warm.start(sweep("runs", "full"), tmp_path / "first", EVERY_STEP)
    until(tmp_path / "first", "/12")
    os.killpg(first, signal.SIGSTOP)  # as if it took long
    second = warm.start(sweep("runs", "full,freeze"), tmp_path / "second", OFTEN)
    until(tmp_path / "second", "freeze seed 0 finished")
    os.killpg(first, signal.SIGKILL)
    assert warm.wait(first) == -signal.SIGKILL
    assert warm.wait(second) == 0
    said = (tmp_path / "second").read_text()
    assert said.count("tiny vit-tiny-random full seed 0 is being run by process ") == 1
    assert done_by(tmp_path / "second") == ["freeze seed 0", "full seed 0"]


def test_a_repetition_is_none_of_a_run_that_another_sweep_has_just_repeated(
    tmp_path: Path, warm: Warm, sweep: Words
) -> None:
    assert warm.wait(warm.start(sweep(), tmp_path / "before")) == 0
    said = [tmp_path / f"said{number}" for number in range(2)]
    for number in [warm.start(sweep("runs", "freeze,full", "--force"), path, OFTEN) for path in said]:
        assert warm.wait(number) == 0
    assert sorted(run for path in said for run in done_by(path)) == ["freeze seed 0", "full seed 0"]


def test_another_machine_is_waited_for_and_given_up_when_it_shows_no_life(
    tmp_path: Path, warm: Warm, sweep: Words
) -> None:
    """What a kill by a scheduler leaves behind for the node on which the job starts again."""
    first = warm.start(sweep("runs", "full"), tmp_path / "first", ELSEWHERE + EVERY_STEP)
    until(tmp_path / "first", "/12")
    os.killpg(first, signal.SIGKILL)
    began = time.monotonic()
    assert warm.wait(warm.start(sweep("runs", "full"), tmp_path / "second", OFTEN + STALE)) == 0
    assert time.monotonic() - began > 1.0
    assert "is being run by process" in (tmp_path / "second").read_text()
    assert done_by(tmp_path / "second") == ["full seed 0"]
    warm.wait(first)


def test_another_machine_that_lives_keeps_its_run_whatever_the_clocks_say(
    tmp_path: Path, warm: Warm, sweep: Words
) -> None:
    slow = "import time\nfrom benchmark import experiment\nscored = experiment._scored\n"
    slow += "experiment._scored = lambda *words: (time.sleep(1.5), scored(*words))[1]\n"
    past = "import os\nutime = os.utime\nos.utime = lambda path: utime(path, ns=(beat := next(beats), beat))\n"
    past += "import itertools\nbeats = itertools.count(10**18, -(10**12))\n"  # long ago, and running backwards
    first = warm.start(sweep("runs", "full"), tmp_path / "first", ELSEWHERE + slow + past)
    until(tmp_path / "first", "/12")
    assert warm.wait(warm.start(sweep("runs", "full"), tmp_path / "second", OFTEN + STALE)) == 0
    assert warm.wait(first) == 0
    assert done_by(tmp_path / "first") == ["full seed 0"]
    assert done_by(tmp_path / "second") == []
    assert "full seed 0 finished: by another process" in (tmp_path / "second").read_text()


def test_a_sweep_that_is_terminated_lets_go_of_its_runs(tmp_path: Path, warm: Warm, sweep: Words) -> None:
    """As a job that is pre-empted, and starts again on another machine."""
    number = warm.start(sweep("runs", "full"), tmp_path / "first", ELSEWHERE)
    until(tmp_path / "first", "/12")
    os.kill(number, signal.SIGTERM)
    assert warm.wait(number) == 130
    assert files(tmp_path / "runs") == {"tiny/vit-tiny-random/full/seed0.checkpoint"}
    assert warm.wait(warm.start(sweep("runs", "full"), tmp_path / "second")) == 0
    assert "is being run by" not in (tmp_path / "second").read_text()
