"""Decoder warm-ups shared by the runs of a sweep change no result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.records import read
from benchmark.runs import pool
from benchmark.runs.events import Event, Step
from benchmark.runs.job import Job
from benchmark.runs.one_run import train_and_record
from benchmark.training import warmup
from tests.training.test_trainer import essence, job_of

pytestmark = pytest.mark.slow
WARM_UP = 3


@pytest.fixture
def job(tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]) -> Callable[..., Job]:
    """Return a function that makes the job of a method that shares its warm-up or, with ``alone``, does not."""
    path, shared = tiny_protocol(), tmp_path / "shared"
    shared.mkdir()

    def make(method: str, seed: int = 0, alone: bool = False) -> Job:
        made = job_of(path, tiny_data, tmp_path / ("alone" if alone else "together"), method, seed)
        return replace(made, warm_ups=None if alone else shared)

    return make


def steps_of(job: Job) -> list[int]:
    """Execute a job; return the steps that it trains."""
    steps: list[int] = []
    train_and_record(job, lambda event: steps.append(event.step) if isinstance(event, Step) else None)
    return steps


@pytest.mark.parametrize("method", ["lora", "fishertune"])
def test_a_run_that_continues_another_ones_warm_up_ends_bit_identical(method: str, job: Callable[..., Job]) -> None:
    first, second, alone = job("full"), job(method), job(method, alone=True)
    assert steps_of(first)[0] == 1
    assert steps_of(second)[0] == WARM_UP + 1
    assert steps_of(alone)[0] == 1
    assert read(first.record).warm_up is None
    assert read(alone.record).warm_up is None
    continued = read(second.record)
    assert continued.warm_up == first.spec.title
    assert essence(continued) == essence(read(alone.record))
    assert continued.confusion is not None
    assert continued.decoder == read(alone.record).decoder
    # It cost what it cost the first run.
    assert continued.seconds["warm-up"] == read(first.record).seconds["warm-up"]
    assert continued.cpu_seconds > 0


def test_other_features_or_another_seed_need_a_warm_up_of_their_own(job: Callable[..., Job]) -> None:
    steps_of(job("full"))
    for other in (job("vpt"), job("full", seed=1)):
        assert steps_of(other)[0] == 1
        assert read(other.record).warm_up is None


def test_a_resumed_run_still_names_the_warm_up_and_keeps_its_first_segment(job: Callable[..., Job]) -> None:
    steps_of(job("full"))
    stopped = job("bitfit")

    def stop(event: Event) -> None:
        if isinstance(event, Step) and event.step == WARM_UP + 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_and_record(stopped, stop)
    steps = steps_of(replace(stopped, warm_ups=None))
    assert steps[0] == WARM_UP + 3
    assert read(stopped.record).warm_up == job("full").spec.title


def test_a_sweep_has_a_folder_while_it_runs_and_a_single_run_has_none(job: Callable[..., Job]) -> None:
    with pool._warm_ups([job("full"), job("lora")]) as folder:
        assert folder is not None
        assert folder.is_dir()
        (folder / "stored").touch()
    assert not folder.exists()
    with pool._warm_ups([job("full")]) as none:
        assert none is None


def test_a_damaged_file_or_a_full_folder_costs_only_time(
    job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warmup, "ROOM", 0)
    first = job("full")
    steps_of(first)
    assert first.warm_ups is not None
    assert not list(first.warm_ups.iterdir())
    monkeypatch.undo()
    assert steps_of(job("freeze"))[0] == 1
    [stored] = first.warm_ups.iterdir()
    stored.write_bytes(b"damaged")
    assert steps_of(job("bitfit"))[0] == 1
