"""SIGKILL a sweep and its workers at random moments: no lost or leftover files, and bit-identical results."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from benchmark.records import Record, confusions, read
from tests.faults.conftest import Sweep, files
from tests.training.test_trainer import essence
from tests.warm import EVERY_STEP, Warm

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("DGSS_BENCHMARK_KILLS", "12"))
LONGEST = 1.5
"""Maximum seconds until a kill; a sweep takes about three."""
CHANGES = 40
"""Maximum number of file changes until a kill; a run makes about as many."""
DIE = """
import os, signal, sys
left = {changes}
def watch(event, arguments):
    global left
    written = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if (written or event in ("os.rename", "os.remove", "os.utime")) and "{records}" in str(arguments[0]):
        left -= 1
        if left < 0:
            os.killpg(0, signal.SIGKILL)
sys.addaudithook(watch)
"""
"""Code that kills the process group right before one of its next file changes in the records folder."""


def run_and_kill(warm: Warm, args: list[str | Path], output: Path, rng: random.Random) -> bool:
    """Start a sweep and kill it after a random time or number of file changes; return whether it ended before."""
    if rng.random() < 0.5:
        records = args[args.index("--records") + 1]
        die = DIE.format(changes=rng.randrange(CHANGES), records=records)
        code = warm.wait(warm.start(args, output, EVERY_STEP + die))
    else:
        pid = warm.start(args, output, EVERY_STEP)
        time.sleep(rng.uniform(0, LONGEST))
        os.killpg(pid, signal.SIGKILL)
        code = warm.wait(pid)
    assert code in (0, -signal.SIGKILL), output.read_text()
    return code == 0


def records_in(folder: Path) -> dict[str, Record]:
    """Return the records below a folder; reading fails if one is incomplete."""
    return {str(path.relative_to(folder)): read(path) for path in folder.rglob("seed0.json")}


def test_a_sweep_killed_anywhere_ends_as_if_undisturbed(tmp_path: Path, warm: Warm, sweep: Sweep) -> None:
    rng, output, methods = random.Random(0), tmp_path / "output", "full,fishertune"
    assert warm.wait(warm.start(sweep("straight", methods), output)) == 0, output.read_text()
    straight = records_in(tmp_path / "straight")
    assert len(straight) == 2
    kills, folders, resumed = 0, 0, 0
    while kills < KILLS:
        folders += 1
        folder, args = tmp_path / f"broken{folders}", sweep(f"broken{folders}", methods)
        before: dict[str, Record] = {}
        while not run_and_kill(warm, args, output, rng):
            kills += 1
            resumed += any(folder.rglob("*.checkpoint"))
            now = records_in(folder)
            assert {name: now.get(name) for name in before} == before, "finished records do not change"
            before = now
        assert files(folder) == files(tmp_path / "straight"), "no leftover and no missing files"
        for name, record in records_in(folder).items():
            assert essence(record) == essence(straight[name]), "scores, losses and conditions (data, batch order)"
            for field in ("examples", "delta", "tuned", "decoder"):  # hashes of the weights
                assert getattr(record, field) == getattr(straight[name], field), field
            ours, theirs = confusions(record)[0], confusions(straight[name])[0]
            assert all((ours[domain] == theirs[domain]).all() for domain in theirs)
    assert resumed > KILLS / 4, "most kills left a checkpoint"
