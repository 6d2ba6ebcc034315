"""Machine failures while a sweep runs: full disk, moved or read-only folder, too little memory, clock set back."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from benchmark.records import confusions, read
from tests.faults.conftest import Sweep, files
from tests.training.test_trainer import essence
from tests.warm import EVERY_STEP, SLOW, Warm, until

pytestmark = pytest.mark.slow
HEARTBEATS = "patch('benchmark.runs.lock.HEARTBEAT_SECONDS', 0.05)\n"


def mounted(folder: Path, *options: str) -> bool:
    """Mount a file system on a new folder; return whether that is permitted here."""
    folder.mkdir()
    return not subprocess.run(["mount", *options, str(folder)], check=False, capture_output=True).returncode


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A records folder on a file system of 48 MB."""
    folder = tmp_path / "small"
    if shutil.which("mount") is None or not mounted(folder, "-t", "tmpfs", "-o", "size=48m", "none"):
        pytest.skip("needs permission to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path, ended: threading.Event) -> None:
    """Keep the file system full."""
    with (folder / "filler").open("wb", buffering=0) as file:
        while not ended.wait(0.001):
            with suppress(OSError):
                file.write(bytes(1 << 20))


def one_line(output: Path, start: str) -> str:
    """Return the only output line with this start, or of a run that ended so; assert that there is no traceback."""
    text = output.read_text()
    assert "Traceback" not in text, text
    (line,) = [line for line in text.splitlines() if line.startswith(start) or f" {start}: " in line]
    return line


def test_a_full_disk_is_reported_in_one_line_and_the_run_resumes_when_there_is_space(
    tmp_path: Path, small: Path, warm: Warm, sweep: Sweep
) -> None:
    assert warm.wait(warm.start(sweep("straight", "freeze,layernorm"), tmp_path / "output")) == 0
    assert warm.wait(warm.start(sweep("small", "freeze"), tmp_path / "output")) == 0
    kept = {path: path.read_bytes() for path in small.rglob("*") if path.is_file()}
    output, ended = tmp_path / "full", threading.Event()
    pid = warm.start(sweep("small", "layernorm"), output, EVERY_STEP + SLOW)
    until(output, "/12")
    filler = threading.Thread(target=fill, args=(small, ended))
    filler.start()
    assert warm.wait(pid) == 2
    ended.set()
    filler.join()
    assert re.search(r"seed0\.checkpoint: .*No space left on device; free", one_line(output, "refused"))
    assert {path: path.read_bytes() for path in kept} == kept
    folder = small / "tiny" / "vit-tiny-random" / "layernorm"
    assert os.listdir(folder) == ["seed0.checkpoint"], "the last complete one"
    assert warm.wait(warm.start(sweep("small", "layernorm", "--seeds", "1"), output)) == 2
    assert re.search(r"seed1\.lock: .*No space left on device; free", one_line(output, "refused"))
    (small / "filler").unlink()
    assert warm.wait(warm.start(sweep("small", "layernorm"), output)) == 0
    name = "tiny/vit-tiny-random/layernorm/seed0.json"
    assert essence(read(small / name)) == essence(read(tmp_path / "straight" / name))


def test_records_in_a_read_only_folder_can_be_read(tmp_path: Path, warm: Warm, sweep: Sweep) -> None:
    assert warm.wait(warm.start(sweep("runs", "freeze"), tmp_path / "output")) == 0
    before, locked = files(tmp_path / "runs"), tmp_path / "locked"
    if shutil.which("mount") is None or not mounted(locked, "--bind", "-o", "ro", str(tmp_path / "runs")):
        pytest.skip("needs permission to mount")
    try:
        assert warm.wait(warm.start(sweep("locked", "freeze"), tmp_path / "output")) == 0
        assert "1 of 1 records" in (tmp_path / "output").read_text()
        for method in ("freeze", "full"):
            more = ["--force"] if method == "freeze" else []
            assert warm.wait(warm.start(sweep("locked", method, *more), tmp_path / "output")) == 2
            assert "--records" in one_line(tmp_path / "output", f"error: {locked}/tiny/vit-tiny-random/{method}: ")
    finally:
        subprocess.run(["umount", str(locked)], check=True)
    assert files(tmp_path / "runs") == before


def test_a_folder_that_is_moved_away_is_created_again(tmp_path: Path, warm: Warm, sweep: Sweep) -> None:
    output = tmp_path / "output"
    pid = warm.start(sweep("runs", "full"), output, SLOW + HEARTBEATS)
    until(output, "/12")
    (tmp_path / "runs").rename(tmp_path / "gone")
    assert warm.wait(pid) == 0
    assert re.search("runs/tiny/vit-tiny-random/full .*moved", output.read_text()), "the user is notified"
    record = read(tmp_path / "runs" / "tiny" / "vit-tiny-random" / "full" / "seed0.json")
    assert confusions(record)
    assert not any(name.endswith((".lock", ".tmp")) for name in files(tmp_path / "runs"))


def test_a_clock_that_runs_backwards_changes_no_result(tmp_path: Path, warm: Warm, sweep: Sweep) -> None:
    back = """
import datetime, itertools, time
hours = itertools.count(0, -1)
class Clock(datetime.datetime):
    @classmethod
    def now(cls, zone=None):
        return datetime.datetime(2025, 1, 1, tzinfo=zone) + datetime.timedelta(hours=next(hours))
patch("benchmark.runs.one_run.datetime", Clock)
time.time = lambda: 10**9 + 3600.0 * next(hours)
"""
    for folder, code in (("straight", ""), ("back", back)):
        assert warm.wait(warm.start(sweep(folder, "full"), tmp_path / "output", code)) == 0
    name = "tiny/vit-tiny-random/full/seed0.json"
    straight, record = (read(tmp_path / folder / name) for folder in ("straight", "back"))
    assert record.finished < record.started
    assert essence(record) == essence(straight)
    assert all(seconds >= 0 for seconds in record.seconds.values())


def test_too_little_memory_is_reported_in_one_line(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path], warm: Warm, sweep: Sweep
) -> None:
    limit = """
import re, resource
from pathlib import Path
size = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + (400 << 20), size + (400 << 20)))
"""
    assert warm.wait(warm.start(sweep("runs", "freeze"), tmp_path / "output", limit)) == 0, "enough for a tiny run"
    before, output = files(tmp_path / "runs"), tmp_path / "output"
    tiny_protocol(augmentation={"short_edge": [512, 512], "crop": 512}, batch=8)
    assert warm.wait(warm.start(sweep("large", "full"), output, limit)) == 2
    line = one_line(output, "refused")
    assert line.startswith("[1/1] tiny vit-tiny-random full seed 0 refused: ")
    assert "memory" in line
    assert files(tmp_path / "runs") == before
    assert files(tmp_path / "large") == set()
