"""A run that dies or diverges does so alone, and says what happened."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from benchmark.records import read
from tests.faults.conftest import Words, done_by
from tests.faults.test_misfortune import SLOW, one_line
from tests.faults.test_several import until
from tests.faults.warm import EVERY_STEP, Warm
from tests.training.test_trainer import essence

PLACE = "tiny/vit-tiny-random"
DIVERGE = """
import torch
from baselines import lora
method = next(kind for kind in vars(lora).values() if isinstance(kind, type) and kind.__module__ == lora.__name__
              and hasattr(kind, "losses"))
calls = iter(range(1, 100))
method.losses = lambda self, decoding: {"extra": torch.tensor(float("nan") if next(calls) == 7 else 0.25)}
"""
"""Code that makes LoRA's own loss no number in the seventh iteration after the warm-up of three."""


def test_a_worker_that_is_killed_is_told_the_sweep_goes_on_and_the_run_resumes(
    tmp_path: Path, warm: Warm, sweep: Words
) -> None:
    said, place = tmp_path / "said", tmp_path / "runs" / PLACE
    assert warm.wait(warm.start(sweep("straight", "full"), said)) == 0
    number = warm.start(sweep("runs", "full,freeze,layernorm", "--workers", "2"), said, EVERY_STEP + SLOW)
    until(place / "full" / "seed0.claim", "}")
    worker = json.loads((place / "full" / "seed0.claim").read_text())["pid"]
    until(said, "full seed 0: ")
    os.kill(worker, signal.SIGKILL)
    assert warm.wait(number) == 1
    assert sorted(done_by(said)) == ["freeze seed 0", "layernorm seed 0"]
    line = one_line(said, "crashed")
    assert line.endswith("its process was killed, as happens where memory runs out; run again to resume")
    assert "2 of 3 records in" in said.read_text()
    assert warm.wait(warm.start(sweep("runs", "full,freeze,layernorm"), said)) == 0
    assert "2 of 3 runs are finished already" in said.read_text()
    assert essence(read(place / "full" / "seed0.json")) == essence(
        read(tmp_path / "straight" / PLACE / "full/seed0.json")
    )


def test_a_run_that_diverges_is_marked_the_sweep_goes_on_and_the_table_has_an_empty_cell(
    tmp_path: Path, warm: Warm, sweep: Words
) -> None:
    said = tmp_path / "said"
    assert warm.wait(warm.start(sweep("runs", "lora,freeze", "--seeds", "0,1"), said, DIVERGE)) == 1
    assert sorted(done_by(said)) == ["freeze seed 0", "freeze seed 1"]
    assert said.read_text().count("\nfailed: ") == 2
    for seed in (0, 1):
        record = read(tmp_path / "runs" / PLACE / "lora" / f"seed{seed}.json")
        assert record.state == "failed"
        ((step, good),) = record.losses[-1:]
        total = sum(value for value in good.values() if value is not None)
        assert (step, good["extra"]) == (9, 0.25)
        assert record.error is not None
        assert record.error.startswith("the loss is nan at iteration 10 (phase ")
        assert record.error.endswith(f"; the last good one is {total:.4g}")
        assert f"lora seed {seed}: {record.error}" in said.read_text()
        assert [row.iteration for row in record.evaluations] == [6]
        assert not list((tmp_path / "runs").rglob("*.checkpoint"))
    (row,) = [line for line in said.read_text().splitlines() if line.startswith("| LoRA")]
    assert [cell.strip() for cell in row.split("|")[2:-1]] == [*[""] * 7, "0"]
    assert warm.wait(warm.start(sweep("runs", "lora,freeze", "--seeds", "0,1"), said)) == 0, "repeated, now that it can"
    assert sorted(done_by(said)) == ["lora seed 0", "lora seed 1"]
