"""The launcher on a SLURM cluster of one node (``tox -e slurm``): preempted and requeued runs resume bit-exactly."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.records import confusions, read
from tests.cli.test_cli import ROOT, command
from tests.runs.slurm.cluster import ask, cluster, missing, until
from tests.training.test_trainer import essence

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("DGSS_BENCHMARK_SLURM" not in os.environ, reason="only with tox -e slurm"),
]
METHODS = ("full", "lora", "fishertune")
LAUNCH = ("--launcher", "slurm", "--slurm", "partition=low,timeout_min=60")
START = "Starting with JobEnvironment"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A SLURM cluster of one node and one core; yields the environment for SLURM commands."""
    if missing():
        pytest.fail(f"no {', '.join(missing())}: apt-get install slurmctld slurmd slurm-client munge")
    with cluster(tmp_path_factory.mktemp("slurm"), cpus=1) as environment:
        yield environment


class Task:
    """A task of a job array."""

    def __init__(self, slurm: dict[str, str], records: Path, name: str) -> None:
        self.slurm, self.records, self.name = slurm, records, name

    def log(self) -> str:
        return "".join(path.read_text() for path in self.records.glob(f"slurm/*/{self.name}_0_log.out"))

    def steps(self) -> list[int]:
        """Return the iterations in the log since the last start."""
        return [int(step) for step in re.findall(r": (\d+)/\d+ ", self.log().rpartition(START)[2])]

    def disturb(self, *command: str) -> None:
        """Run a command once the task trains, and wait until it has saved a checkpoint and is requeued."""
        until(self.steps, f"{self.name} trains", 300)
        subprocess.run(command, env=self.slurm, check=True)
        until(lambda: self.state() == "PENDING", f"{self.name} is requeued")

    def state(self) -> str:
        states = ask(self.slurm, "squeue", "--noheader", "--array", "--states=all", "--format=%i|%T").splitlines()
        return dict(line.split("|") for line in states).get(self.name, "")


def call(*args: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | environment
    return subprocess.run(command(*args), cwd=ROOT, env=env, capture_output=True, text=True, timeout=1800, check=False)


def arguments(records: Path, *more: str) -> list[str | Path]:
    return ["run", "--quick", "--records", records, *more]


def test_an_array_with_requeued_and_preempted_tasks_has_the_same_results(slurm: dict[str, str], tmp_path: Path) -> None:
    far, near = tmp_path / "far", tmp_path / "near"
    array = arguments(far, "--methods", ",".join(METHODS), *LAUNCH)
    client = subprocess.Popen(command(*array), cwd=ROOT, env=slurm, stderr=subprocess.PIPE, text=True)
    until(lambda: list(far.glob("slurm/*/submitted.tsv")), "the array is submitted")
    names = [line.split("\t")[0] for path in far.glob("slurm/*/submitted.tsv") for line in path.open()]
    assert [name.partition("_")[2] for name in names] == ["0", "1", "2"]
    tasks = [Task(slurm, far, name) for name in names]

    tasks[0].disturb("scontrol", "requeue", names[0])
    tasks[1].disturb("sbatch", "--partition=high", "--output=/dev/null", "--wrap=sleep 1")  # preempts it
    tasks[2].disturb("scancel", "--signal=USR2", names[2])  # as before the time limit
    _, output = client.communicate(timeout=900)
    assert client.returncode == 0, output
    assert "3 of 3 records" in output
    for task in tasks:
        assert task.log().count(START) == 2
        assert task.steps()[0] > 1, "it resumed where it had stopped"

    assert call(*arguments(near, "--methods", ",".join(METHODS), "--workers", "1")).returncode == 0
    for method in METHODS:
        one, other = (read(root / f"streets@quick/vit-tiny-streets/{method}/seed0.json") for root in (far, near))
        assert essence(one) == essence(other)
        for (name, ours), theirs in zip(confusions(one)[0].items(), confusions(other)[0].values(), strict=True):
            assert (ours == theirs).all(), name
    again = call(*array, **slurm)
    assert again.returncode == 0
    assert "3 of 3 runs" in again.stderr
    assert len(list(far.glob("slurm/*/submitted.tsv"))) == 1


def test_a_detached_array_is_found_again_and_a_cancelled_run_is_resubmitted(
    slurm: dict[str, str], tmp_path: Path
) -> None:
    records = tmp_path / "runs"
    runs = arguments(records, "--methods", "freeze", "--seeds", "0,1", *LAUNCH)
    assert call(*runs, "--detach", **slurm).returncode == 0
    (path,) = records.glob("slurm/*/submitted.tsv")
    first, second = (Task(slurm, records, line.split("\t")[0]) for line in path.open())
    assert first.state() in ("PENDING", "RUNNING")
    subprocess.run(["scancel", second.name], env=slurm, check=True)
    done = call(*runs, **slurm)  # while the first, which is short, is starting
    assert "1 of 2 runs" in done.stderr
    assert done.returncode == 0, done.stderr
    assert "2 of 2 records" in done.stderr
    assert first.log().count(START) == 1
    assert second.log() == "", "cancelled before it started, and submitted again"


def test_the_documented_script_distributes_one_run(slurm: dict[str, str], tmp_path: Path) -> None:
    (script,) = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", (ROOT / "docs/cluster.md").read_text(), re.DOTALL)
    run = f"--quick --methods freeze --records {tmp_path}"
    for documented, tested in (
        ("--nproc-per-node 4", "--nproc-per-node 2"),
        ("--protocol gtav-to-cbm --methods fishertune --data-root DIR", run),
    ):
        assert documented in script
        script = script.replace(documented, tested)
    (tmp_path / "run.sh").write_text(script)
    output = f"--output={tmp_path / 'log'}"
    submit = ["sbatch", "--wait", "--nodes=1", "--ntasks-per-node=1", "--requeue", "--time=600", output]
    environment = slurm | {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{slurm['PATH']}"}
    done = subprocess.run([*submit, tmp_path / "run.sh"], env=environment, cwd=ROOT, timeout=1800, check=False)
    assert done.returncode == 0, (tmp_path / "log").read_text()
    record = read(tmp_path / "streets@quick/vit-tiny-streets/freeze/seed0.json")
    assert record.machine["processes"] == 2


def test_an_error_of_slurm_is_reported_in_one_line(slurm: dict[str, str], tmp_path: Path) -> None:
    runs = arguments(tmp_path / "runs", "--methods", "freeze", "--launcher", "slurm", "--slurm", "partition=no")
    done = call(*runs, **slurm)
    assert done.returncode == 2
    assert "error: --slurm: sbatch: error: invalid partition specified: no" in done.stderr
