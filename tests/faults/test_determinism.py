"""A seed determines a record bit by bit: repeated, in any order, in parallel; other thread counts change rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.records import Record, confusions, read_all
from benchmark.runs.distributed import run_on_ranks
from tests.faults.conftest import Sweep
from tests.training.test_trainer import essence, job_of
from tests.warm import Warm

pytestmark = pytest.mark.slow
METHODS = ["full", "rein", "fishertune"]
LOSS, SCORE = 1e-5, 1e-3
"""Tolerances for another number of threads in twelve iterations; measured were 2.4e-7 and 0."""


def assert_same(records: list[Record], others: list[Record]) -> None:
    """Assert that two lists of records are the same, and so are the files next to them."""
    assert len(records) == len(others) == len(METHODS)
    for record, other in zip(records, others, strict=True):
        assert essence(record) == essence(other)
        for field in ("examples", "delta", "tuned", "decoder"):
            assert getattr(record, field) == getattr(other, field), field
        ours, theirs = confusions(record)[0], confusions(other)[0]
        assert all((ours[domain] == theirs[domain]).all() for domain in theirs)


def test_a_record_is_the_same_when_repeated_in_any_order_and_in_parallel(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path], warm: Warm, sweep: Sweep
) -> None:
    # Shorter; at the path of the sweep's protocol.
    path = tiny_protocol(iterations=6, settings={"fishertune": {"images": 4}})
    for folder, methods, workers in (("first", METHODS, "1"), ("parallel", METHODS[::-1], "2")):
        args = sweep(folder, ",".join(methods), "--workers", workers)
        assert warm.wait(warm.start(args, tmp_path / "output")) == 0
    threads = torch.get_num_threads()
    for folder, methods in (("here", METHODS), ("backwards", METHODS[::-1])):  # sequentially in one process
        run_on_ranks([job_of(path, tiny_data, tmp_path / folder, name) for name in methods], lambda job, event: None)
    torch.set_num_threads(threads)
    first = read_all(tmp_path / "first")
    for folder in ("parallel", "here", "backwards"):
        assert_same(read_all(tmp_path / folder), first)


def test_the_number_of_threads_changes_only_rounding(tmp_path: Path, warm: Warm, sweep: Sweep) -> None:
    for threads in ("1", "2"):
        args = sweep(threads, METHODS[-1], "--threads", threads)
        assert warm.wait(warm.start(args, tmp_path / "output")) == 0
    for one, two in zip(read_all(tmp_path / "1"), read_all(tmp_path / "2"), strict=True):
        assert (one.machine["threads"], two.machine["threads"]) == (1, 2)
        for (step, losses), (same_step, others) in zip(one.losses, two.losses, strict=True):
            assert step == same_step
            assert others == pytest.approx(losses, abs=LOSS)
        for domain, score in one.scores().items():
            assert two.scores()[domain].miou == pytest.approx(score.miou, abs=SCORE)
        # Rounding decides between weights of nearly equal scores: single ones change, their number does not.
        reports: list[Any] = [one.report["chosen"], two.report["chosen"]]
        chosen, other = (np.array(list(report.values())) for report in reports)
        assert chosen.sum() == other.sum()
        assert np.abs(chosen - other).max() <= 2
        assert {name: getattr(one, name) for name in ("batches_hash", "decoder_hash", "weights_hash")} == {
            name: getattr(two, name) for name in ("batches_hash", "decoder_hash", "weights_hash")
        }
