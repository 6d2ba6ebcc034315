"""Writing records under faults: killed processes, file size limits, concurrent writers."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmark import records
from benchmark.common import atomic
from benchmark.common.errors import UserError
from tests.records.made import confusion, failed, names, record, stored

ROOT = Path(__file__).parents[2]
KILLED = -signal.SIGKILL
WRITE = """
import os, signal, sys
from pathlib import Path
from tests.records.made import stored
fatal = int(sys.argv[2])
def watch(event, arguments):
    global fatal
    if event in ("os.rename", "os.remove"):  # the audit event precedes the operation
        fatal -= 1
        if fatal < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
stored(Path(sys.argv[1]), accuracy=0.9, weights={"delta": b"new delta", "decoder": b"new decoder"})
"""
FILES = ["seed0.decoder.safetensors", "seed0.delta.safetensors", "seed0.json", "seed0.npz"]


def _write_and_die(root: Path, changes: int) -> int:
    """Write a record in a process that is killed after ``changes`` renames and removals."""
    return subprocess.run([sys.executable, "-c", WRITE, str(root), str(changes)], cwd=ROOT, check=False).returncode


@pytest.mark.parametrize("older", [False, True])
def test_a_killed_writer_leaves_no_partial_record(tmp_path: Path, older: bool) -> None:
    states = []
    for changes in range(20):
        root = tmp_path / str(changes)
        path = records.path_of(root, "streets", "vit-tiny-streets", "lora", 0)
        old = {"delta": b"old delta", "decoder": b"old decoder"}
        before = stored(root, accuracy=0.7, weights=old).average if older else None
        code = _write_and_die(root, changes)
        if path.exists():
            found = records.read(path)
            states.append("old" if found.average == before else "new")
            for field in old:
                assert records.content(found, field) == f"{states[-1]} {field}".encode()
        else:
            states.append("none")
        after = stored(root, accuracy=0.9, weights=old)
        assert sorted(each.name for each in path.parent.iterdir()) == FILES
        assert after.average != before
        if code == 0:
            break
        assert code == KILLED
    assert states[-1] == "new"
    assert "none" in states  # killed between confusion matrices and record
    assert not older or states[0] == "old"


def test_the_record_is_written_after_its_confusions(tmp_path: Path) -> None:
    assert _write_and_die(tmp_path, 4) == KILLED
    left = [path.name for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith(".tmp")]
    assert sorted(left) == [name for name in FILES if name != "seed0.json"]
    with pytest.raises(UserError, match="no records here"):
        records.read_all(tmp_path)


def test_concurrent_writers_of_one_run_do_not_mix_files(tmp_path: Path) -> None:
    drafts = [confusion(accuracy, 0) for accuracy in (0.5, 0.6, 0.7, 0.9)]
    with ThreadPoolExecutor(len(drafts)) as pool:
        for _ in range(40):
            jobs = [pool.submit(records.write, record(each), each, names(each), tmp_path) for each in drafts]
            (path,) = {job.result() for job in jobs}
            records.read(path)
            assert sorted(each.name for each in path.parent.iterdir()) == ["seed0.json", "seed0.npz"]


@pytest.mark.parametrize("limit", [10, 2000])
def test_a_full_disk_keeps_the_old_record(tmp_path: Path, limit: int) -> None:
    before = stored(tmp_path, accuracy=0.7)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    matrices = confusion(0.9, 0)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        with pytest.raises(UserError, match=r"seed0\.json: .*File too large"):
            records.write(record(matrices), matrices, names(matrices), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (after,) = records.read_all(tmp_path, verify=True)
    assert after.average == before.average
    assert after.path is not None
    assert sorted(each.name for each in after.path.parent.iterdir()) == ["seed0.json", "seed0.npz"]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "streets").write_text("in the way")
    with pytest.raises(UserError, match=r"streets.*: .*Not a directory"):
        records.write(failed(), {}, {}, tmp_path)


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder that only root can write to."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o555)
        yield Path(name)
        os.chmod(name, 0o755)


def test_missing_permission_is_reported(read_only: Path) -> None:
    child = os.fork()  # root can write anywhere, so the child drops its privileges
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            records.write(failed(), {}, {}, read_only)
        except UserError as error:
            os._exit(0 if "Permission denied" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert list(read_only.iterdir()) == []


def test_files_have_default_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    atomic.write_file(tmp_path / "whole", b"content")
    assert (tmp_path / "whole").read_bytes() == b"content"
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode
