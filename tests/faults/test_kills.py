"""SIGKILL at random moments of a sweep, its workers included: nothing lost, nothing left over, the same bits."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from benchmark.records import Record, confusions, read
from tests.faults.conftest import Words, files
from tests.faults.warm import EVERY_STEP, Warm
from tests.training.test_trainer import essence

KILLS = int(os.environ.get("DGSS_BENCHMARK_KILLS", "12"))
LONGEST = 1.5
"""Seconds after which a kill comes at the latest; a sweep takes about three."""
CHANGES = 40
"""Changes of files after which a kill comes at the latest; a run makes about as many."""
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
"""Code that kills the process group just before one of its next changes of files among the records."""


def kill(warm: Warm, words: list[str | Path], said: Path, chance: random.Random) -> bool:
    """Start a sweep and kill it some time later; return whether it had ended by itself."""
    if chance.random() < 0.5:
        records = words[words.index("--records") + 1]
        die = DIE.format(changes=chance.randrange(CHANGES), records=records)
        code = warm.wait(warm.start(words, said, EVERY_STEP + die))
    else:
        number = warm.start(words, said, EVERY_STEP)
        time.sleep(chance.uniform(0, LONGEST))
        os.killpg(number, signal.SIGKILL)
        code = warm.wait(number)
    assert code in (0, -signal.SIGKILL), said.read_text()
    return code == 0


def finished(folder: Path) -> dict[str, Record]:
    """Return the records below a folder, each of which has to be whole."""
    return {str(path.relative_to(folder)): read(path) for path in folder.rglob("seed0.json")}


def test_killed_anywhere_a_sweep_ends_as_if_undisturbed(tmp_path: Path, warm: Warm, sweep: Words) -> None:
    chance, said, methods = random.Random(0), tmp_path / "said", "full,fishertune"
    assert warm.wait(warm.start(sweep("straight", methods), said)) == 0
    straight = finished(tmp_path / "straight")
    assert len(straight) == 2
    kills, folders, resumed = 0, 0, 0
    while kills < KILLS:
        folders += 1
        folder, words = tmp_path / f"broken{folders}", sweep(f"broken{folders}", methods)
        before: dict[str, Record] = {}
        while not kill(warm, words, said, chance):
            kills += 1
            resumed += any(folder.rglob("*.checkpoint"))
            now = finished(folder)
            assert {name: now.get(name) for name in before} == before, "what was finished stays as it is"
            before = now
        assert files(folder) == files(tmp_path / "straight"), "nothing is left over, nothing is missing"
        for name, record in finished(folder).items():
            assert essence(record) == essence(straight[name]), "scores, losses, conditions, among them data and order"
            for field in ("examples", "delta", "tuned", "decoder"):  # the weights, by hash
                assert getattr(record, field) == getattr(straight[name], field), field
            ours, theirs = confusions(record)[0], confusions(straight[name])[0]
            assert all((ours[domain] == theirs[domain]).all() for domain in theirs)
    assert resumed > KILLS / 4, "most of them found a checkpoint"
