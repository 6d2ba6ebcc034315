"""The size of a checkpoint is known before training; it needs free space, and is written whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from benchmark.common import atomic
from benchmark.common.errors import UserError
from benchmark.runs.one_run import train_and_record
from benchmark.training import checkpoint
from tests.benchmarks.memory import peak
from tests.cli.test_cli import ROOT, command
from tests.training.test_trainer import job_of, stop_at

pytestmark = pytest.mark.slow

PRIVATE = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
"""Runs a shell that may mount file systems, for itself alone."""


@pytest.mark.parametrize(("name", "largest"), [("full", 11), ("lora", 11), ("fishertune", 4), ("childtune-d", 4)])
def test_a_checkpoint_has_the_announced_size(
    name: str,
    largest: int,
    tmp_path: Path,
    tiny_data: Path,
    tiny_protocol: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[int] = []
    monkeypatch.setattr(checkpoint, "require_room", lambda path, needed: said.append(needed))
    job = job_of(tiny_protocol(), tiny_data, tmp_path, name)
    with pytest.raises(KeyboardInterrupt):
        train_and_record(job, stop_at(largest, KeyboardInterrupt))
    assert job.checkpoint.stat().st_size == pytest.approx(said[0], rel=0.1)


def test_free_space_is_checked(tmp_path: Path) -> None:
    path, free = tmp_path / "not" / "made" / "yet.pt", shutil.disk_usage(tmp_path).free
    checkpoint.require_room(path, 1000)
    with pytest.raises(UserError, match=r"GB are free, .* --records"):
        checkpoint.require_room(path, free)
    older = tmp_path / "older.pt"
    older.write_bytes(bytes(5000))
    checkpoint.require_room(older, 2500)  # which it replaces


def test_a_run_on_a_small_disk_is_refused_before_it_trains(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = f"mount -t tmpfs -o size=16m none {small}"
    if shutil.which("unshare") is None or subprocess.run([*PRIVATE, mount], check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    words: list[str | Path] = ["--protocol", tiny_protocol(), "--data-root", tiny_data, "--records", small]
    run = " ".join(f"'{word}'" for word in command("run", *words, "--methods", "full"))
    done = subprocess.run(
        [*PRIVATE, f"{mount} && {run}; code=$?; find {small} -type f >&2; exit $code"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if " refused: " in line)
    assert f"{small}/tiny/vit-tiny-random/full: 0.017 GB are free, a run needs up to 0.0" in line
    assert " ce " not in done.stderr, "no step was made"


LARGE = 200 << 20
KEY = {"key": "of this test"}


def growth(path: Path) -> int:
    """Return by how much this process grows while it writes a checkpoint of ``LARGE`` bytes."""
    state = {**KEY, "weights": torch.ones(LARGE // 4)}
    checkpoint.write(path, {**KEY, "weights": torch.ones(1)})
    before = peak(reset=True)
    checkpoint.write(path, state)
    return peak() - before


def test_a_checkpoint_is_written_without_a_copy_in_memory(tmp_path: Path) -> None:
    peak()  # skips if that cannot be determined
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(growth, tmp_path / "checkpoint").result() < LARGE // 10
    assert (tmp_path / "checkpoint").stat().st_size == pytest.approx(LARGE, rel=0.01)


def states() -> tuple[dict[str, Any], dict[str, Any]]:
    """An older checkpoint, and one with several tensors larger than a file's write buffer."""
    return {**KEY, "age": 1}, {**KEY, "age": 2, "weights": [torch.rand(50_000) for _ in range(4)]}


@pytest.mark.parametrize("room", [0, 100, 5_000, 300_000, 799_000, 801_000])
def test_a_checkpoint_that_does_not_fit_leaves_the_older_one(room: int, tmp_path: Path) -> None:
    older, newer = states()
    checkpoint.write(tmp_path / "checkpoint", older)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        with pytest.raises(UserError, match=r"checkpoint: cannot be written: File too large; allow larger"):
            checkpoint.write(tmp_path / "checkpoint", newer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == ["checkpoint"]
    assert checkpoint.read(tmp_path / "checkpoint", KEY["key"]) == older


class Signalled:
    """A file at one of whose parts Ctrl-C is pressed."""

    def __init__(self, file: BinaryIO, part: int) -> None:
        self.file, self.part = file, part
        self.flush = file.flush

    def write(self, data: bytes) -> int:
        self.part -= 1
        if self.part == 0:
            signal.raise_signal(signal.SIGINT)
        return self.file.write(data)


def test_an_interrupted_checkpoint_leaves_the_older_one(tmp_path: Path) -> None:
    """At whichever part: torch makes another error of most interrupts."""
    older, newer = states()
    path = tmp_path / "checkpoint"
    checkpoint.write(path, older)

    def save(part: int, file: BinaryIO) -> None:
        checkpoint._save(newer, Signalled(file, part))  # type: ignore[arg-type]

    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)  # perhaps, as of a script's background job
    try:
        for part in range(1, 200):
            try:
                atomic.write_by(path, partial(save, part))
            except KeyboardInterrupt:
                assert os.listdir(tmp_path) == ["checkpoint"]
                assert checkpoint.read(path, KEY["key"]) == older
                continue
            break
    finally:
        signal.signal(signal.SIGINT, ignored)
    assert 20 < part < 199
    found = checkpoint.read(path, KEY["key"])
    assert found is not None
    assert all(map(torch.equal, found["weights"], newer["weights"]))
