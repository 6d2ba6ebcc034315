"""Data-loader workers: they do not change what is read, and they end with the run, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
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
from tests.cli.test_cli import ROOT, command
from tests.training.test_trainer import essence, job_of

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
    """Return whether all processes end within 20 seconds."""
    _, alive = psutil.wait_procs(processes, timeout=20)
    return not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("how", ["ctrl-c", "a worker is killed", "the run is killed"])
def test_an_ended_run_leaves_no_workers_and_no_traceback(
    how: str, tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    options: list[str | Path] = ["--data-root", tiny_data, "--records", tmp_path, "--data-workers", str(WORKERS)]
    path = tiny_protocol(iterations=100_000)
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)  # SIGINT may be ignored, as in a background job
    started = subprocess.Popen(
        command("run", "--protocol", path, "--methods", "freeze", *options),
        cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    signal.signal(signal.SIGINT, ignored)
    try:
        run, processes = find_run(started.pid)
        if how == "ctrl-c":
            os.killpg(started.pid, signal.SIGINT)
        else:
            (run.children()[0] if how == "a worker is killed" else run).kill()
        _, stderr = started.communicate(timeout=SECONDS)
    finally:
        started.kill()
    assert "Traceback" not in stderr
    assert gone(processes)
    record = job_of(path, tiny_data, tmp_path, "freeze")
    if how == "ctrl-c":
        assert record.checkpoint.exists()
    else:
        (line,) = (line for line in stderr.splitlines() if line.startswith("crashed"))
        assert started.returncode == 1
        assert ("worker has ended" if how == "a worker is killed" else "process was killed") in line


def find_run(pid: int) -> tuple[psutil.Process, list[psutil.Process]]:
    """Wait until a run has its data-loader workers; return the process that trains, and all processes below ``pid``."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        below = psutil.Process(pid).children(recursive=True)
        for process in below:
            with suppress(psutil.NoSuchProcess):
                if len(process.children()) == WORKERS and process.ppid() != pid:
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
