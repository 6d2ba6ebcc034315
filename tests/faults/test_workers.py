"""A run that is killed or diverges does not stop the sweep, and the cause is reported."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest

from benchmark.records import read
from tests.faults.conftest import Sweep, finished_by
from tests.faults.test_misfortune import one_line
from tests.training.test_trainer import essence
from tests.warm import EVERY_STEP, SLOW, Warm, until

pytestmark = pytest.mark.slow
FOLDER = "tiny/vit-tiny-random"
DIVERGE = """
import torch
from baselines import lora
method = next(kind for kind in vars(lora).values() if isinstance(kind, type) and kind.__module__ == lora.__name__
              and hasattr(kind, "losses"))
calls = iter(range(1, 100))
method.losses = lambda self, decoding: {"extra": torch.tensor(float("nan") if next(calls) == 7 else 0.25)}
"""
"""Code that makes LoRA's own loss NaN in the seventh iteration after the warm-up of three."""


def test_a_killed_run_is_reported_the_sweep_continues_and_the_run_resumes(
    tmp_path: Path, warm: Warm, sweep: Sweep
) -> None:
    output, folder = tmp_path / "output", tmp_path / "runs" / FOLDER
    assert warm.wait(warm.start(sweep("straight", "full"), output)) == 0
    pid = warm.start(sweep("runs", "full,freeze,layernorm", "--workers", "2"), output, EVERY_STEP + SLOW)
    until(folder / "full" / "seed0.lock", "}")
    worker = json.loads((folder / "full" / "seed0.lock").read_text())["pid"]
    until(output, "full seed 0: ")
    os.kill(worker, signal.SIGKILL)
    assert warm.wait(pid) == 1
    assert sorted(finished_by(output)) == ["freeze seed 0", "layernorm seed 0"]
    assert re.search(r"full seed 0 crashed: .*killed.*memory.*resume", one_line(output, "crashed"))
    assert "2 of 3 records" in output.read_text()
    assert warm.wait(warm.start(sweep("runs", "full,freeze,layernorm"), output)) == 0
    assert "2 of 3 runs" in output.read_text()
    assert finished_by(output) == ["full seed 0"]
    assert essence(read(folder / "full" / "seed0.json")) == essence(
        read(tmp_path / "straight" / FOLDER / "full/seed0.json")
    )


def test_a_diverging_run_is_recorded_the_sweep_continues_and_its_table_cells_are_empty(
    tmp_path: Path, warm: Warm, sweep: Sweep
) -> None:
    output = tmp_path / "output"
    assert warm.wait(warm.start(sweep("runs", "lora,freeze", "--seeds", "0,1"), output, DIVERGE)) == 1
    assert sorted(finished_by(output)) == ["freeze seed 0", "freeze seed 1"]
    assert output.read_text().count(" failed: ") == 2
    for seed in (0, 1):
        record = read(tmp_path / "runs" / FOLDER / "lora" / f"seed{seed}.json")
        assert record.state == "failed"
        ((step, good),) = record.losses[-1:]
        total = sum(value for value in good.values() if value is not None)
        assert (step, good["extra"]) == (9, 0.25)
        assert record.error is not None
        assert re.search(rf"\bnan\b.* iteration 10 \(phase .*\b{re.escape(f'{total:.4g}')}$", record.error)
        assert f"lora seed {seed} failed: {record.error}" in output.read_text()
        assert [row.iteration for row in record.evaluations] == [6]
        assert not list((tmp_path / "runs").rglob("*.checkpoint"))
    (row,) = [line for line in output.read_text().splitlines() if line.startswith("| LoRA")]
    assert [cell.strip() for cell in row.split("|")[2:-1]] == [*[""] * 7, "0"]
    assert warm.wait(warm.start(sweep("runs", "lora,freeze", "--seeds", "0,1"), output)) == 0, (
        "failed runs are repeated"
    )
    assert sorted(finished_by(output)) == ["lora seed 0", "lora seed 1"]
