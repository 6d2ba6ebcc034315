"""Only one process at a time holds a lock, even if owners are killed."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmark.common.errors import UserError
from benchmark.runs import lock
from benchmark.runs.lock import LockedError, Owner, RunLock, Watch


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "seed0.json"


@pytest.fixture
def dead() -> Owner:
    """A process of this machine that has ended, and whose process ID belongs to another process now."""
    return replace(Owner.new(), pid=os.getpid(), started="1")


def lock_as(owner: Owner, record: Path) -> Path:
    path = lock.path_of(record)
    path.write_text(json.dumps(asdict(owner)))
    return path


def test_a_lock_is_held_once_and_released(record: Path) -> None:
    with RunLock(record) as held:
        with pytest.raises(LockedError, match=f"process {os.getpid()} on "):
            RunLock(record).__enter__()
        assert Watch().owner(record) == held.owner
    assert list(record.parent.iterdir()) == []
    with RunLock(record):
        pass


def test_a_lock_of_a_process_that_has_ended_is_taken_over(record: Path, dead: Owner) -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    time.sleep(0.1)
    zombie = replace(dead, pid=child, started=lock._started(1) or "")  # ended, but not waited for yet
    for owner in (dead, zombie, replace(dead, pid=2**30)):
        lock_as(owner, record)
        assert Watch().owner(record) is None
        with RunLock(record):
            pass
    os.waitpid(child, 0)


def test_one_process_at_a_time_takes_over_a_stale_lock(record: Path, dead: Owner) -> None:
    """Eight threads compete for it repeatedly; the one that gets it is alone until it releases it."""
    inside: list[int] = []

    def enter(number: int) -> int:
        for _ in range(1000):
            try:
                with RunLock(record):
                    inside.append(number)
                    assert inside == [number]
                    time.sleep(0.001)
                    inside.clear()
                    return 1
            except LockedError:
                time.sleep(0.001)
        return 0

    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            lock_as(replace(dead, token=Owner.new().token), record)
            assert list(pool.map(enter, range(8))) == [1] * 8
    assert list(record.parent.iterdir()) == []


def test_a_process_killed_while_removing_a_stale_lock_does_not_block_others(record: Path, dead: Owner) -> None:
    path = lock_as(dead, record)
    other = replace(dead, token=Owner.new().token)
    removal = path.with_name(f"{path.name}.{dead.token}")
    removal.write_text(json.dumps(asdict(other)))
    with RunLock(record):
        assert os.listdir(record.parent) == [path.name]


@pytest.mark.parametrize("content", ["", "[]", '{"token": "../../x"}', '{"token": 7, "pid": "x"}', "\x00" * 9])
def test_an_incomplete_lock_is_removed_after_a_while(
    content: str, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock.path_of(record).write_text(content)
    watch = Watch()
    assert str(watch.owner(record)) == "an unknown process (incomplete lock file)"
    monkeypatch.setattr(lock, "INCOMPLETE_SECONDS", 0.0)
    time.sleep(0.01)
    assert watch.owner(record) is None
    assert list(record.parent.iterdir()) == []


def test_a_lock_of_another_machine_is_stale_only_when_it_stops_changing(
    record: Path, dead: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "STALE_SECONDS", 0.2)
    path = lock_as(replace(dead, machine="another"), record)
    watch = Watch()
    for moment in (10**18, 10**18 - 10**12, 3 * 10**18, 1):  # a clock that jumps forwards and backwards
        os.utime(path, ns=(moment, moment))
        for _ in range(3):
            assert watch.owner(record) is not None
            time.sleep(0.04)
    time.sleep(0.2)
    assert watch.owner(record) is None
    assert not path.exists()


def test_an_owner_notices_that_its_lock_was_taken_over(record: Path, dead: Owner) -> None:
    with RunLock(record) as held:
        other = replace(dead, token=Owner.new().token)
        path = lock_as(other, record)
        held.heartbeat()
        assert held.lost == other
    assert path.exists(), "it belongs to another process"


def test_a_deleted_lock_is_created_again(record: Path) -> None:
    with RunLock(record) as held:
        before = held.path.stat().st_mtime_ns
        held.heartbeat()
        assert (held.recreated, held.path.stat().st_mtime_ns > before) == (False, True)
        held.path.unlink()
        held.heartbeat()
        assert held.recreated
        assert Watch().owner(record) == held.owner
    assert not held.path.exists()


def test_locking_deletes_temporary_files_of_killed_processes(record: Path) -> None:
    kept = {"seed0.json", "seed0.checkpoint", ".seed00.json.x.tmp", "seed00.lock", ".seed1.npz.x.tmp"}
    deleted = {".seed0.checkpoint.x.tmp", ".seed0.delta.safetensors.x.tmp", "seed0.lock.0123"}
    for name in kept | deleted:
        (record.parent / name).touch()
    with RunLock(record):
        pass
    assert set(os.listdir(record.parent)) == kept


def test_an_error_names_the_lock_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"seed0\.lock: .*; move the file"):
        RunLock(tmp_path / "file" / "seed0.json").__enter__()
