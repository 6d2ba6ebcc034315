"""One claim at a time, whoever dies holding it."""

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
    """A process of this machine that has ended; its number may be another's by now."""
    return replace(Owner.new(), pid=os.getpid(), started="1")


def claimed_by(owner: Owner, record: Path) -> Path:
    path = lock.path_of(record)
    path.write_text(json.dumps(asdict(owner)))
    return path


def test_a_claim_is_held_once_and_let_go(record: Path) -> None:
    with RunLock(record) as held:
        with pytest.raises(LockedError, match=f"process {os.getpid()} on "):
            RunLock(record).__enter__()
        assert Watch().owner(record) == held.owner
    assert list(record.parent.iterdir()) == []
    with RunLock(record):
        pass


def test_the_dead_hold_nothing(record: Path, dead: Owner) -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    time.sleep(0.1)
    zombie = replace(dead, pid=child, started=lock._started(1) or "")  # dead, and not yet waited for
    for owner in (dead, zombie, replace(dead, pid=2**30)):
        claimed_by(owner, record)
        assert Watch().owner(record) is None
        with RunLock(record):
            pass
    os.waitpid(child, 0)


def test_one_of_many_takes_over_from_the_dead(record: Path, dead: Owner) -> None:
    """All at once, again and again; whoever has it stays alone as long as it holds it."""
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
            claimed_by(replace(dead, token=Owner.new().token), record)
            assert list(pool.map(enter, range(8))) == [1] * 8
    assert list(record.parent.iterdir()) == []


def test_who_dies_while_removing_a_dead_claim_blocks_nobody(record: Path, dead: Owner) -> None:
    path = claimed_by(dead, record)
    other = replace(dead, token=Owner.new().token)
    right = path.with_name(f"{path.name}.{dead.token}")
    right.write_text(json.dumps(asdict(other)))
    with RunLock(record):
        assert os.listdir(record.parent) == [path.name]


@pytest.mark.parametrize("content", ["", "[]", '{"token": "../../x"}', '{"token": 7, "pid": "x"}', "\x00" * 9])
def test_a_claim_without_a_name_is_waited_for_and_then_removed(
    content: str, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock.path_of(record).write_text(content)
    watch = Watch()
    assert str(watch.owner(record)) == "a process that has not given its name yet"
    monkeypatch.setattr(lock, "UNSIGNED_SECONDS", 0.0)
    time.sleep(0.01)
    assert watch.owner(record) is None
    assert list(record.parent.iterdir()) == []


def test_another_machine_loses_its_claim_only_when_nothing_changes(
    record: Path, dead: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "STALE_SECONDS", 0.2)
    path = claimed_by(replace(dead, machine="another"), record)
    watch = Watch()
    for moment in (10**18, 10**18 - 10**12, 3 * 10**18, 1):  # a clock that jumps, forwards and back
        os.utime(path, ns=(moment, moment))
        for _ in range(3):
            assert watch.owner(record) is not None
            time.sleep(0.04)
    time.sleep(0.2)
    assert watch.owner(record) is None
    assert not path.exists()


def test_who_was_taken_for_gone_learns_of_it(record: Path, dead: Owner) -> None:
    with RunLock(record) as held:
        other = replace(dead, token=Owner.new().token)
        path = claimed_by(other, record)
        held.beat()
        assert held.lost == other
    assert path.exists(), "it is another's"


def test_a_claim_that_was_deleted_is_made_again(record: Path) -> None:
    with RunLock(record) as held:
        before = held.path.stat().st_mtime_ns
        held.beat()
        assert (held.remade, held.path.stat().st_mtime_ns > before) == (False, True)
        held.path.unlink()
        held.beat()
        assert held.remade
        assert Watch().owner(record) == held.owner
    assert not held.path.exists()


def test_the_owner_removes_what_others_left_half_written(record: Path) -> None:
    kept = {"seed0.json", "seed0.checkpoint", ".seed00.json.x.tmp", "seed00.claim", ".seed1.npz.x.tmp"}
    gone = {".seed0.checkpoint.x.tmp", ".seed0.delta.safetensors.x.tmp", "seed0.claim.0123"}
    for name in kept | gone:
        (record.parent / name).touch()
    with RunLock(record):
        pass
    assert set(os.listdir(record.parent)) == kept


def test_a_folder_that_holds_no_claims_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"seed0\.claim: cannot claim the run: .*; move the file"):
        RunLock(tmp_path / "file" / "seed0.json").__enter__()
