"""What a checkpoint takes is known before training starts, and refused where there is no room for it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark import checkpoints
from benchmark.errors import UserError
from benchmark.experiment import execute
from tests.test_cli import ROOT, command
from tests.test_training import job_of, stop_at

PRIVATE = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
"""Runs a shell that may mount file systems, for itself alone."""


@pytest.mark.parametrize(("name", "largest"), [("full", 11), ("lora", 11), ("fishertune", 5), ("childtune-d", 4)])
def test_a_checkpoint_takes_what_was_said(
    name: str,
    largest: int,
    tmp_path: Path,
    tiny_data: Path,
    tiny_protocol: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[int] = []
    monkeypatch.setattr(checkpoints, "require_room", lambda path, needed: said.append(needed))
    job = job_of(tiny_protocol(), tiny_data, tmp_path, name)
    with pytest.raises(KeyboardInterrupt):
        execute(job, stop_at(largest, KeyboardInterrupt))
    assert job.checkpoint.stat().st_size == pytest.approx(said[0], rel=0.1)


def test_room_is_asked_of_the_disk(tmp_path: Path) -> None:
    path, free = tmp_path / "not" / "made" / "yet.pt", shutil.disk_usage(tmp_path).free
    checkpoints.require_room(path, 1000)
    with pytest.raises(UserError, match=r"GB are free, a run keeps up to .*; make room, or give another --records"):
        checkpoints.require_room(path, free)
    older = tmp_path / "older.pt"
    older.write_bytes(bytes(5000))
    checkpoints.require_room(older, 2500)  # which it replaces


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
    *_, line = done.stderr.strip().splitlines()
    assert f"{small}/tiny/vit-tiny-random/full: 0.017 GB are free, a run keeps up to 0.0" in line
    assert " ce " not in done.stderr, "no step was made"
