"""Data-loader workers: they do not change what is read, and they end with the run, however it ends."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch.utils.data import Dataset

from benchmark.common.errors import LostWorkerError, UserError
from benchmark.data import loading
from benchmark.runs.events import Event, Step
from benchmark.runs.job import Job
from benchmark.runs.one_run import train_and_record
from benchmark.training import trainer
from benchmark.training.runtime import RuntimeOptions
from tests.training.test_trainer import essence, job_of
from tests.warm import shared

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="needs signals to process groups"),
    pytest.mark.slow,
]
WORKERS = 2
SECONDS = 120


def with_workers(job: Job) -> Job:
    return replace(job, runtime=RuntimeOptions(data_workers=WORKERS))


def test_a_run_with_workers_is_the_same_and_resumes_after_one_was_killed(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)  # a checkpoint after every iteration
    path = tiny_protocol()
    without = essence(train_and_record(job_of(path, tiny_data, tmp_path / "without", "lora")))
    job = with_workers(job_of(path, tiny_data, tmp_path / "with", "lora"))
    steps: list[int] = []
    before = set(psutil.Process().children())  # started by other tests

    def own() -> list[psutil.Process]:
        return [child for child in psutil.Process().children() if child not in before]

    def interfere(event: Event) -> None:
        if isinstance(event, Step):
            steps.append(event.step)
            children = own()
            assert len(children) == WORKERS
            if event.step == 3:
                children[0].send_signal(signal.SIGINT)  # Ctrl-C, which a worker ignores
            if event.step == 7:
                children[0].kill()

    with pytest.raises(LostWorkerError, match=r"\(.+\); .*--data-workers"):
        train_and_record(job, interfere)
    last = steps[-1]
    assert 7 <= last < 12
    assert gone(own())
    resumed = train_and_record(job, lambda event: steps.append(event.step) if isinstance(event, Step) else None)
    # The worker may be missed after a step's checkpoint and before its event.
    assert steps == [step for step in range(1, 13) if step in steps or step != last + 1]
    result = essence(resumed)
    assert result.pop("machine") == {**without.pop("machine"), "data_workers": WORKERS}
    assert result == without
    assert gone(own())


def gone(processes: list[psutil.Process]) -> bool:
    """Return whether all processes end within a minute."""
    _, alive = psutil.wait_procs(processes, timeout=60)
    return not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def start(folder: Path, data: Path, path: Path, *more: str) -> int:
    """Start runs of Freeze with data-loader workers, from a fork server as always; return the process ID."""
    options: list[str | Path] = ["--data-root", data, "--records", folder, "--data-workers", str(WORKERS), *more]
    return shared().start(["run", "--protocol", path, "--methods", "freeze", *options], folder / "output", forks=False)


def test_an_interrupted_run_leaves_no_workers_and_no_traceback(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    path = tiny_protocol(iterations=100_000)
    pid = start(tmp_path, tiny_data, path)
    _, processes = find_run(pid)
    os.killpg(pid, signal.SIGINT)
    assert shared().wait(pid) == 130
    assert "Traceback" not in (tmp_path / "output").read_text()
    assert gone(processes)
    assert job_of(path, tiny_data, tmp_path, "freeze").checkpoint.exists()


def test_killed_runs_and_workers_leave_no_workers_and_no_traceback(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    """Of one run a worker is killed, of the next the process that trains."""
    pid = start(tmp_path, tiny_data, tiny_protocol(iterations=100_000), "--seeds", "0,1", "--workers", "1")
    first, processes = find_run(pid)
    first.children()[0].kill()
    second, others = find_run(pid, first)
    second.kill()
    assert shared().wait(pid) == 1
    text = (tmp_path / "output").read_text()
    assert "Traceback" not in text
    assert gone([*processes, *others])
    crashed = [line for line in text.splitlines() if line.startswith("crashed")]
    assert ["worker has ended" in line for line in crashed] == [True, False]
    assert ["process was killed" in line for line in crashed] == [False, True]


def find_run(pid: int, last: psutil.Process | None = None) -> tuple[psutil.Process, list[psutil.Process]]:
    """Wait until a run has its data-loader workers; return the process that trains, and all processes below ``pid``."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        below = psutil.Process(pid).children(recursive=True)
        for process in below:
            with suppress(psutil.NoSuchProcess):
                if process != last and len(process.children()) == WORKERS and process.ppid() != pid:
                    time.sleep(2)
                    return process, below
        time.sleep(0.1)
    raise AssertionError("no data-loader workers were started")


class Damaged(Dataset[Any]):
    def __getitem__(self, index: int) -> Any:
        if index == 3:
            raise UserError("frames/3.png: damaged; fetch it again")
        return {"image": torch.full((2,), index)}


@pytest.mark.parametrize("count", [0, WORKERS])
def test_a_user_error_in_a_worker_keeps_its_message(count: int) -> None:
    items = loading.batches(Damaged(), [0, 1, 2, 3], 2, count)
    assert next(items)["image"].tolist() == [[0, 0], [1, 1]]
    with pytest.raises(UserError, match=r"^frames/3.png: damaged; fetch it again$"):
        next(items)


def test_default_number_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (loading.data_workers(None, 1), loading.data_workers(3, 1)) == (0, 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(12)), raising=False)
    assert [loading.data_workers(None, ranks) for ranks in (1, 4, 16)] == [4, 3, 1]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "6")
    assert loading.data_workers(None, 24) == 2
