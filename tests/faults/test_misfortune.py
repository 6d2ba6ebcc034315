"""What happens to machines while a sweep runs: a full disk, a folder that goes, too little memory, a clock set back."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from benchmark.records import confusions, read
from tests.faults.conftest import Words, files
from tests.faults.test_several import until
from tests.faults.warm import EVERY_STEP, Warm
from tests.training.test_trainer import essence

SLOW = "import time\nfrom benchmark import training\ntick = training.Trainer._named\n"
SLOW += "training.Trainer._named = lambda *words: (time.sleep(0.1), tick(*words))[1]\n"
"""Code that makes a step take a tenth of a second longer."""
BEATS = "from benchmark import claims\nclaims.BEAT_SECONDS = 0.05\n"


def mounted(place: Path, *words: str) -> bool:
    """Mount something at a folder; return whether that is allowed here."""
    place.mkdir()
    return not subprocess.run(["mount", *words, str(place)], check=False, capture_output=True).returncode


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MB, among ``tmp_path``'s folders of records."""
    place = tmp_path / "small"
    if shutil.which("mount") is None or not mounted(place, "-t", "tmpfs", "-o", "size=48m", "none"):
        pytest.skip("needs the right to mount a tmpfs")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(place: Path, ended: threading.Event) -> None:
    """Take all room, whenever there is some."""
    with (place / "filler").open("wb", buffering=0) as file:
        while not ended.wait(0.001):
            with suppress(OSError):
                file.write(bytes(1 << 20))


def one_line(said: Path, start: str) -> str:
    """Return the one line of what was said that starts so, where there was no trace."""
    text = said.read_text()
    assert "Traceback" not in text, text
    (line,) = [line for line in text.splitlines() if line.startswith(start)]
    return line


def test_a_disk_that_fills_up_ends_in_a_line_and_room_mends_it(
    tmp_path: Path, small: Path, warm: Warm, sweep: Words
) -> None:
    assert warm.wait(warm.start(sweep("straight", "freeze,layernorm"), tmp_path / "said")) == 0
    assert warm.wait(warm.start(sweep("small", "freeze"), tmp_path / "said")) == 0
    kept = {path: path.read_bytes() for path in small.rglob("*") if path.is_file()}
    said, ended = tmp_path / "full", threading.Event()
    number = warm.start(sweep("small", "layernorm"), said, EVERY_STEP + SLOW)
    until(said, "/12")
    filler = threading.Thread(target=fill, args=(small, ended))
    filler.start()
    assert warm.wait(number) == 2
    ended.set()
    filler.join()
    line = one_line(said, "refused")
    assert line.endswith("seed0.checkpoint: cannot be written: No space left on device; free some space")
    assert {path: path.read_bytes() for path in kept} == kept
    place = small / "tiny" / "vit-tiny-random" / "layernorm"
    assert os.listdir(place) == ["seed0.checkpoint"], "the last one that was whole"
    assert warm.wait(warm.start(sweep("small", "layernorm", "--seeds", "1"), said)) == 2
    assert "make room, or give another --records" in one_line(said, "refused") or "cannot claim" in said.read_text()
    (small / "filler").unlink()
    assert warm.wait(warm.start(sweep("small", "layernorm"), said)) == 0
    name = "tiny/vit-tiny-random/layernorm/seed0.json"
    assert essence(read(small / name)) == essence(read(tmp_path / "straight" / name))


def test_records_that_cannot_be_written_stay_readable(tmp_path: Path, warm: Warm, sweep: Words) -> None:
    assert warm.wait(warm.start(sweep("runs", "freeze"), tmp_path / "said")) == 0
    before, locked = files(tmp_path / "runs"), tmp_path / "locked"
    if shutil.which("mount") is None or not mounted(locked, "--bind", "-o", "ro", str(tmp_path / "runs")):
        pytest.skip("needs the right to mount")
    try:
        assert warm.wait(warm.start(sweep("locked", "freeze"), tmp_path / "said")) == 0
        assert "1 of 1 records in" in (tmp_path / "said").read_text()
        for method in ("freeze", "full"):
            more = ["--force"] if method == "freeze" else []
            assert warm.wait(warm.start(sweep("locked", method, *more), tmp_path / "said")) == 2
            assert "--records" in one_line(tmp_path / "said", f"error: {locked}/tiny/vit-tiny-random/{method}: ")
    finally:
        subprocess.run(["umount", str(locked)], check=True)
    assert files(tmp_path / "runs") == before


def test_a_folder_that_is_moved_away_is_made_anew_and_the_run_goes_on(tmp_path: Path, warm: Warm, sweep: Words) -> None:
    said = tmp_path / "said"
    number = warm.start(sweep("runs", "full"), said, SLOW + BEATS)
    until(said, "/12")
    (tmp_path / "runs").rename(tmp_path / "gone")
    assert warm.wait(number) == 0
    assert "runs/tiny/vit-tiny-random/full was deleted or moved during the run, and is made anew" in said.read_text()
    record = read(tmp_path / "runs" / "tiny" / "vit-tiny-random" / "full" / "seed0.json")
    assert confusions(record)
    assert not any(name.endswith((".claim", ".tmp")) for name in files(tmp_path / "runs"))


def test_a_clock_that_runs_backwards_changes_no_result(tmp_path: Path, warm: Warm, sweep: Words) -> None:
    back = """
import datetime, itertools, time
from benchmark import experiment
hours = itertools.count(0, -1)
class Clock(datetime.datetime):
    @classmethod
    def now(cls, zone=None):
        return datetime.datetime(2025, 1, 1, tzinfo=zone) + datetime.timedelta(hours=next(hours))
experiment.datetime = Clock
time.time = lambda: 10**9 + 3600.0 * next(hours)
"""
    for folder, code in (("straight", ""), ("back", back)):
        assert warm.wait(warm.start(sweep(folder, "full"), tmp_path / "said", code)) == 0
    name = "tiny/vit-tiny-random/full/seed0.json"
    straight, record = (read(tmp_path / folder / name) for folder in ("straight", "back"))
    assert record.finished < record.started
    assert essence(record) == essence(straight)
    assert all(seconds >= 0 for seconds in record.seconds.values())


def test_too_little_memory_is_one_line(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path], warm: Warm, sweep: Words
) -> None:
    limit = """
import re, resource
from pathlib import Path
size = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + (400 << 20), size + (400 << 20)))
"""
    assert warm.wait(warm.start(sweep("runs", "freeze"), tmp_path / "said", limit)) == 0, "enough for the tiny one"
    before, said = files(tmp_path / "runs"), tmp_path / "said"
    tiny_protocol(augmentation={"short_edge": [512, 512], "crop": 512}, batch=8)
    assert warm.wait(warm.start(sweep("large", "full"), said, limit)) == 2
    line = one_line(said, "refused")
    assert line.startswith("refused: tiny vit-tiny-random full seed 0: memory does not suffice; give fewer")
    assert files(tmp_path / "runs") == before
    assert files(tmp_path / "large") == set()
