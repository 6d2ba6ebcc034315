"""Data-loader workers: they do not change what is read, and they end with the run, however it ends."""

from __future__ import annotations

import os
import re
import shutil
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
from tests.training.test_trainer import essence, job_of
from tests.warm import shared

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="needs signals to process groups"),
    pytest.mark.slow,
]
CLONE_NEWNS = 0x20000
"""Flag of Linux's ``unshare`` for mounts of its own."""
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


def test_a_lost_worker_is_named_whatever_it_interrupted() -> None:
    def save() -> None:
        try:
            raise RuntimeError("DataLoader worker (pid 5) is killed by signal: Killed. ")
        finally:
            raise RuntimeError("unexpected pos 2 vs 1")

    with pytest.raises(LostWorkerError, match=r"DataLoader worker \(pid 5\) is killed"), loading.watched():
        save()


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
    crashed = [line for line in text.splitlines() if " crashed: " in line]
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


@pytest.fixture
def private_shared_memory() -> Callable[[str], str]:
    """A function that returns code after which a process has shared memory of its own, of the given size."""
    mount = "mount --make-rprivate / && mount -t tmpfs -o size={} none /dev/shm"
    words = ["unshare", "--mount", "sh", "-c", mount.format("4k")]
    if shutil.which("unshare") is None or subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    lines = f"import ctypes, os\nctypes.CDLL(None).unshare({CLONE_NEWNS})\nassert os.system({mount!r}) == 0\n"
    return lambda size: lines.format(size)


class Wide(Dataset[Any]):
    """Items of 400 KB."""

    def __getitem__(self, index: int) -> Any:
        return {"image": torch.full((100_000,), float(index)), "id": str(index)}


LOAD = """
import sys
from benchmark.common.errors import LostWorkerError
from benchmark.data import loading
from tests.data.test_workers import Wide
try:
    print([float(item["image"].mean()) for item in {}])
except LostWorkerError as error:
    print(error)
sys.stdout.flush()
os._exit(7)
"""


@pytest.mark.parametrize("load", ["loading.samples(Wide(), [0, 1, 2], 2)", "loading.batches(Wide(), [0, 1, 2], 1, 2)"])
@pytest.mark.parametrize("size", ["100k", "4m"])
def test_tensors_that_find_no_shared_memory_are_an_error(
    load: str, size: str, private_shared_memory: Callable[[str], str], tmp_path: Path
) -> None:
    output = tmp_path / "output"
    assert shared().wait(shared().start([], output, private_shared_memory(size) + LOAD.format(load))) == 7
    text = output.read_text()
    if size == "4m":
        assert text == "[0.0, 1.0, 2.0]\n"
    else:
        assert re.search(r"^data-loader workers .*/dev/shm is full.*--shm-size.*--data-workers 0", text)


@pytest.mark.parametrize(("size", "steps"), [("4k", 0), ("300k", 1)])
def test_full_shared_memory_is_reported_in_one_line(
    size: str,
    steps: int,
    private_shared_memory: Callable[[str], str],
    tmp_path: Path,
    tiny_data: Path,
    tiny_protocol: Callable[..., Path],
) -> None:
    """The smaller one has no space for the locks of the workers."""
    words: list[str | Path] = ["--protocol", tiny_protocol(), "--data-root", tiny_data, "--records", tmp_path]
    output = tmp_path / "output"
    words += ["--methods", "freeze", "--data-workers", "2"]
    assert shared().wait(shared().start(["run", *words], output, private_shared_memory(size))) == 1
    text = output.read_text()
    assert "Traceback" not in text
    (line,) = [line for line in text.splitlines() if " crashed: " in line]
    assert "/dev/shm is full" in line
    assert ("1/12" in text) == bool(steps)


def test_default_number_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (loading.data_workers(None, 1), loading.data_workers(3, 1)) == (0, 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(12)), raising=False)
    assert [loading.data_workers(None, ranks) for ranks in (1, 4, 16)] == [4, 3, 1]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "6")
    assert loading.data_workers(None, 24) == 2
