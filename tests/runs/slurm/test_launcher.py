"""The submitted job array, and runs that submitit starts, preempts and requeues on this machine."""

from __future__ import annotations

import io
import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import submitit
from rich.console import Console
from submitit.core.submission import process_job
from submitit.core.utils import DelayedSubmission

from benchmark.common.errors import UserError
from benchmark.records import confusions, read
from benchmark.runs.events import Evaluating, Event, Loading, Locked, State, Step
from benchmark.runs.job import Job
from benchmark.runs.lock import RunLock
from benchmark.runs.one_run import train_and_record
from benchmark.runs.slurm import launcher, node
from benchmark.runs.slurm.queue import Queue
from benchmark.runs.slurm.resources import Resources
from tests.runs.slurm.cluster import until
from tests.training.test_trainer import essence, job_of

SLURM = """#!/bin/sh
case $0 in
*squeue) cat "$(dirname "$0")/queue" ;;
*sbatch) cp "$1" "$(dirname "$0")/script" && echo "Submitted batch job 17" ;;
esac
"""


def console(stream: io.StringIO) -> Console:
    return Console(file=stream, width=500)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that replace those of SLURM and accept an array without running it."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "queue").touch()
    for name in ("sbatch", "srun", "squeue"):
        (folder / name).write_text(SLURM)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_one_array_is_submitted_and_each_run_once(
    programs: Path,
    tmp_path: Path,
    tiny_data: Path,
    tiny_protocol: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs = [job_of(tiny_protocol(), tiny_data, tmp_path / "runs", "freeze", seed) for seed in range(3)]
    resources = Resources.parse(["partition=gpu,timeout_min=60,gpus_per_node=1,mem_gb=8,array_parallelism=2"])
    submit = launcher.Launcher(resources, detach=True)
    assert submit(jobs[:2], console(first := io.StringIO())) == []
    assert re.search(r"\b17_0\b.*\b17_1\b.*_log\.out", first.getvalue())
    script = (programs / "script").read_text().splitlines()
    for option in ("array=0-1%2", "partition=gpu", "time=60", "gpus-per-node=1", "mem=8GB", "cpus-per-task=1",
                   "ntasks-per-node=1", "signal=USR2@90"):  # fmt: skip
        assert f"#SBATCH --{option}" in script
    assert {"#SBATCH --requeue", "export OMP_NUM_THREADS=1", "export SRUN_CPUS_PER_TASK=1"} <= set(script)

    (programs / "script").unlink()
    (programs / "queue").write_text("17_0|PENDING|Resources\n17_1|RUNNING|None\n")
    submit(jobs[:2], console(again := io.StringIO()))
    (line,) = again.getvalue().splitlines()
    assert line.startswith("2 of 2 runs ")
    assert not (programs / "script").exists()

    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launcher, "follow", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launcher.Launcher(resources)(jobs[:2], console(interrupt := io.StringIO()))
    assert "scancel 17" in interrupt.getvalue()

    (programs / "queue").write_text("17_0|PREEMPTED|None\n17_1|CANCELLED|None\n")
    submit(jobs, console(more := io.StringIO()))
    assert "1 of 3 runs " in more.getvalue()
    assert "#SBATCH --array=0-1%2" in (programs / "script").read_text()


def test_an_error_of_slurm_is_reported_in_one_line(
    programs: Path,
    tmp_path: Path,
    tiny_data: Path,
    tiny_protocol: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs = [job_of(tiny_protocol(), tiny_data, tmp_path / "runs", "freeze")]
    (programs / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition: gpu' >&2; exit 1\n")
    with pytest.raises(UserError, match=r"^--slurm: sbatch: error: invalid partition: gpu$"):
        launcher.Launcher(Resources())(jobs, console(io.StringIO()))
    (programs / "queue").write_text("17|PENDING|Priority\n")
    queue = Queue()
    assert queue() == {"17": "PENDING (Priority)"}
    (programs / "squeue").write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2; exit 1\n")
    with pytest.raises(UserError, match=r"^squeue: Unable to contact slurm controller$"):
        launcher.Launcher(Resources())(jobs, console(io.StringIO()))
    monkeypatch.setattr("benchmark.runs.slurm.queue.QUERY_SECONDS", 0.0)
    assert queue() == {"17": "PENDING (Priority)"}, "the last known states"


def _task(job: submitit.Job[None]) -> psutil.Process:
    """Return the process that executes a job on submitit's local cluster."""
    controller = psutil.Process(int(job.job_id))
    until(lambda: controller.children(), "the task has started")
    return controller.children()[0]


@pytest.mark.slow
def test_a_preempted_run_resumes_and_a_killed_one_is_reported(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_protocol(iterations=60, evaluation={"times": 1})
    preempted, killed = (job_of(path, tiny_data, tmp_path / "runs", "lora", seed) for seed in (0, 1))
    monkeypatch.setattr(launcher, "LATE_SECONDS", 0.0)
    submitted: dict[Job, Any] = {}
    for job in (killed, preempted):
        submitted |= launcher.submit([job], Resources(), tmp_path / "logs", force=False, cluster="local")
        if job is killed:
            _task(submitted[killed]).kill()
    log = Path(submitted[preempted].paths.stdout)
    until(lambda: log.exists() and "/60" in log.read_text(), "a step was done")
    _task(submitted[preempted]).send_signal(signal.SIGUSR2)

    stream = io.StringIO()
    states = {each.job_id: each for each in submitted.values()}
    outcomes = launcher.follow(
        submitted, lambda: {name: "RUNNING" for name, each in states.items() if not each.done()}, console(stream)
    )
    ends = {outcome.job: (outcome.state, outcome.text) for outcome in outcomes}
    assert ends[preempted] == ("finished", "")
    assert ends[killed][0] == "crashed"
    assert str(submitted[killed].paths.stderr) in ends[killed][1]
    assert "[2/2] tiny vit-tiny-random lora seed 0 finished" in stream.getvalue()

    first, second = log.read_text().split("Requeued job", 1)
    assert "this job is" in first
    steps = [int(part.split()[-1]) for part in second.split("/60")[:-1]]
    assert steps[0] > 1, "resumed from its checkpoint"
    straight = replace(preempted, folder=tmp_path / "straight")
    assert essence(train_and_record(straight)) == essence(read(preempted.record))
    ours, theirs = (confusions(read(job.record))[0] for job in (preempted, straight))
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    node.Run(preempted, force=False)()  # does nothing: requeued although it has finished


@pytest.fixture
def signals() -> Iterator[None]:
    """Restores the signal handlers that a run replaces."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.slow
@pytest.mark.usefixtures("signals")
def test_the_state_of_a_run_is_read_from_its_files(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Executes in this process what a node executes."""

    def ending(job: Job, error: type[Exception]) -> tuple[State, str]:
        name = str(job.spec.seed)
        DelayedSubmission(node.Run(job, force=False)).dump(tmp_path / f"{name}_submitted.pkl")
        monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
        monkeypatch.setenv("SUBMITIT_LOCAL_JOB_ID", name)
        with pytest.raises(error):
            process_job(tmp_path)
        ended = launcher._ending(submitit.LocalJob(tmp_path, name), True, None)
        return ended.state, ended.text

    diverging, absent, broken = (job_of(tiny_protocol(), tiny_data, tmp_path / "runs", "full", n) for n in range(3))
    with monkeypatch.context() as patched:
        patched.setattr("benchmark.training.trainer.schedule", lambda protocol, step: float("nan"))
        state, text = ending(diverging, node.FailedRunError)
    assert (state, text) == ("failed", read(diverging.record).error)
    state, text = ending(replace(absent, data_root=tmp_path / "none"), UserError)
    assert state == "refused"
    assert text.startswith(f"camvid: folder {tmp_path / 'none' / 'camvid'}")
    monkeypatch.setattr("benchmark.training.trainer.schedule", None)
    state, text = ending(broken, TypeError)
    assert (state, text.partition(";")[0]) == ("crashed", "TypeError: 'NoneType' object is not callable")


@pytest.mark.slow
@pytest.mark.usefixtures("signals")
def test_a_run_that_slurm_does_not_end_after_sigterm_continues(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "GRACE_SECONDS", 0.01)
    job = job_of(tiny_protocol(), tiny_data, tmp_path / "stopped", "lora")
    seen: list[Any] = []
    stop = node._Stop()

    def notify(event: Event) -> None:
        seen.append(event.step if isinstance(event, Step) else event)
        if isinstance(event, Step) and seen.count(5) == 1 and event.step == 5:
            signal.raise_signal(signal.SIGTERM)
        stop.check(event)

    record = node._run_until_done(job, None, notify, stop)
    assert [each for each in seen if isinstance(each, int)] == list(range(1, 13))
    assert seen.count(Loading()) == 2
    assert essence(record) == essence(train_and_record(replace(job, folder=tmp_path / "straight")))


@pytest.mark.slow
@pytest.mark.usefixtures("signals")
def test_a_run_waits_for_another_process_that_has_locked_it(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.pool, "POLL_SECONDS", 0.01)
    job = job_of(tiny_protocol(), tiny_data, tmp_path / "runs", "freeze")
    elsewhere = RunLock(job.record)
    elsewhere.__enter__()
    seen: list[Event] = []

    def notify(event: Event) -> None:
        if not seen:
            elsewhere.__exit__()
        seen.append(event)

    node._run_until_done(job, None, notify, node._Stop())
    assert seen[:2] == [Locked(str(elsewhere.owner)), Loading()]
    assert job.record.exists()


@pytest.mark.usefixtures("signals")
def test_a_run_that_is_not_training_is_requeued_at_once() -> None:
    def requeue(number: int, frame: object) -> None:
        raise SystemExit

    signal.signal(signal.SIGUSR2, requeue)
    stop = node._Stop()
    for stage in (Loading(), Evaluating(6)):
        stop.check(Step(6, 12, {}))
        stop.check(stage)
        with pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGUSR2)
    stop.check(Step(7, 12, {}))
    signal.raise_signal(signal.SIGUSR2)
    with pytest.raises(KeyboardInterrupt):  # with a checkpoint
        stop.check(Step(8, 12, {}))
