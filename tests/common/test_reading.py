"""Only regular files of a plausible size are read; whatever else has a file's name is refused, and nothing waits."""

from __future__ import annotations

import json
import os
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from benchmark import labelsets, protocol, records
from benchmark.cli import listing
from benchmark.common import atomic, reading, strict_json
from benchmark.common.errors import UserError
from benchmark.common.hashing import sha256_of
from benchmark.data.readers import gta5, mapillary
from benchmark.models import weights
from benchmark.runs import lock
from benchmark.sharing import bundle
from benchmark.training import checkpoint
from tests.records.made import stored

MAKE: dict[str, Callable[[Path], object]] = {
    "FIFO": os.mkfifo,
    "folder": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "does not exist": lambda path: path.symlink_to("nowhere"),
    "symbolic links": lambda path: path.symlink_to(path.name),
}
"""What stands in a file's place, by words of the message."""


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    def late(*_: object) -> None:
        raise AssertionError("waited for a file")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _record(folder: Path, put: Callable[[Path], object]) -> None:
    path = stored(folder).path
    assert path is not None
    path.unlink()
    put(path)
    records.read_all(folder)


def _sidecar(folder: Path, put: Callable[[Path], object]) -> None:
    record = stored(folder)
    assert record.path is not None
    record.path.with_suffix(".npz").unlink()
    put(record.path.with_suffix(".npz"))
    records.confusions(record)


def _at(name: str, read: Callable[[Path], object]) -> Callable[[Path, Callable[[Path], object]], None]:
    def reads(folder: Path, put: Callable[[Path], object]) -> None:
        put(folder / name)
        read(folder / name)

    return reads


READ: dict[str, Callable[[Path, Callable[[Path], object]], None]] = {
    "record": _record,
    "confusion": _sidecar,
    "checkpoint": _at("seed0.checkpoint", lambda path: checkpoint.read(path, "key")),
    "weights": _at("weights.safetensors", weights.read),
    "protocol": _at("own.yaml", lambda path: protocol.load(str(path))),
    "label set": _at("own.yaml", labelsets.read),
    "lock": _at("seed0.lock", lambda path: lock.Watch().owner(path.with_suffix(".json"))),
    "locking": _at("seed0.lock", lambda path: lock.RunLock(path.with_suffix(".json")).__enter__()),
    "splits of GTA5": _at("splits.json", lambda path: gta5._split(path, "train")),
    "config of Mapillary": _at("config.json", lambda path: mapillary.READER.table(path.parent / "val/labels/a.png")),
    "shared run": _at("manifest.json", lambda path: bundle.read_folder(path.parent)(path.name, 1000)),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
@pytest.mark.parametrize("what", MAKE)
@pytest.mark.parametrize("where", READ)
def test_what_is_not_a_file_is_refused_in_one_line(where: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        READ[where](tmp_path, MAKE[what])
    line = str(error.value)
    linked = where == "shared run" and what in ("device", "does not exist", "symbolic links")
    assert "\n" not in line
    assert str(tmp_path) in line or where == "protocol"
    assert ("must not be a link" if linked else what) in line


@pytest.mark.parametrize("what", MAKE)
def test_a_record_that_is_not_a_file_is_listed_as_damaged(what: str, tmp_path: Path) -> None:
    path = stored(tmp_path).path
    assert path is not None
    path.unlink()
    MAKE[what](path)
    (run,) = listing.runs(tmp_path)
    assert run.state == "damaged"
    assert what in run.detail


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="larger than 1000 bytes"):
        reading.read_bytes(path, 1000)
    with pytest.raises(OSError, match="larger than"):
        reading.read_text(path)


def test_larger_weights_than_any_are_refused_before_they_are_hashed(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match=r"weights: cannot read weights .*larger than"):
        weights.read(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
@pytest.mark.parametrize("what", ["FIFO", "folder"])
def test_what_is_not_a_file_is_not_replaced_by_one(what: str, tmp_path: Path) -> None:
    path, other = tmp_path / "table.tex", tmp_path / "other.tex"
    MAKE[what](path)
    kind = path.stat().st_mode
    with pytest.raises(OSError, match=f"a {what}, not a file"):
        atomic.write_files({other: b"x", path: b"x"})
    assert path.stat().st_mode == kind
    assert list(tmp_path.iterdir()) == [path]


def test_a_wrong_hash_is_found_without_the_file_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"x" * 100)
    monkeypatch.setattr(reading, "read_bytes", lambda *_: pytest.fail("read whole"))
    with pytest.raises(UserError, match="SHA-256"):
        weights.read(path, "0" * 64)
    assert len(sha256_of(path)) == 64


def test_text_has_plain_line_ends(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"a\r\nb\n")
    assert reading.read_text(tmp_path / "list") == "a\nb\n"


def test_a_compressed_checkpoint_is_not_unpacked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "seed0.checkpoint"
    torch.save({"key": "k", "weights": torch.zeros(1000)}, path)
    found = checkpoint.read(path, "k")
    assert found is not None
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert checkpoint.read(path, "k") is None
    assert "damaged" in caplog.text


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": 2}', '{"a": {"b": 1, "b": 1}}', "1" * 400, "[1e999]", "[" * 100_000],
    ids=["twice", "twice inside", "400 digits", "infinite", "deep"],
)
def test_json_that_would_mislead_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        strict_json.load(text)


def test_json_is_read(tmp_path: Path) -> None:
    value = {"a": [1, -2.5, None, True, "x"], "b": {"c": 2**63}}
    assert strict_json.load(json.dumps(value)) == value


@pytest.mark.parametrize(
    "content",
    [
        b'{"token": "' + b"0" * 32 + b'", "pid": 1' + b"0" * 300 + b"}",
        b'{"token": "' + b"0" * 32 + b'", "pid": true}',
        b"[" * 50_000,
    ],
    ids=["a huge process ID", "no number", "deep"],
)
def test_a_lock_without_a_possible_owner_is_incomplete(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "seed0.lock").write_bytes(content)
    owner = lock.Watch().owner(tmp_path / "seed0.json")
    assert owner is not None
    assert owner.pid == 0


def test_a_large_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "seed0.lock").write_bytes(b"x" * (lock.LIMIT + 1))
    with pytest.raises(UserError, match="not a lock file"):
        lock.Watch().owner(tmp_path / "seed0.json")


def test_a_host_name_cannot_control_the_terminal() -> None:
    owner = lock.Owner("0" * 32, "\x1b[2J" + "h" * 500, "", 7)
    assert str(owner).isprintable()
    assert len(str(owner)) < 100
