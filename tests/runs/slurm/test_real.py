"""The launcher on a real SLURM of one node (``tox -e slurm``): pre-empted, queued again, resumed to the last bit."""

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

pytestmark = pytest.mark.skipif("DGSS_BENCHMARK_SLURM" not in os.environ, reason="only by tox -e slurm")
METHODS = ("full", "lora", "fishertune")
LAUNCH = ("--launcher", "slurm", "--slurm", "partition=low,timeout_min=60")
START = "Starting with JobEnvironment"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A running SLURM of one node and one core; yields an environment for its commands."""
    if missing():
        pytest.fail(f"no {', '.join(missing())}: apt-get install slurmctld slurmd slurm-client munge")
    with cluster(tmp_path_factory.mktemp("slurm"), cpus=1) as environment:
        yield environment


class Task:
    """One job of an array, seen from outside."""

    def __init__(self, slurm: dict[str, str], records: Path, name: str) -> None:
        self.slurm, self.records, self.name = slurm, records, name

    def log(self) -> str:
        return "".join(path.read_text() for path in self.records.glob(f"slurm/*/{self.name}_0_log.out"))

    def steps(self) -> list[int]:
        """Return the iterations that the log names since the last start."""
        return [int(step) for step in re.findall(r": (\d+)/24 ", self.log().rpartition(START)[2])]

    def disturb(self, *words: str) -> None:
        """Disturb it once it trains, and wait until it has written its checkpoint and waits in the queue."""
        until(self.steps, f"{self.name} trains", 300)
        subprocess.run(words, env=self.slurm, check=True)
        until(lambda: self.state() == "PENDING", f"{self.name} is in the queue again")

    def state(self) -> str:
        states = ask(self.slurm, "squeue", "--noheader", "--array", "--states=all", "--format=%i|%T").splitlines()
        return dict(line.split("|") for line in states).get(self.name, "")


def call(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | environment
    return subprocess.run(command(*words), cwd=ROOT, env=env, capture_output=True, text=True, timeout=1800, check=False)


def words(records: Path, *more: str) -> list[str | Path]:
    return ["run", "--quick", "--records", records, *more]


def test_an_array_is_disturbed_in_every_way_and_ends_as_if_it_had_not_been(
    slurm: dict[str, str], tmp_path: Path
) -> None:
    far, near = tmp_path / "far", tmp_path / "near"
    array = words(far, "--methods", ",".join(METHODS), *LAUNCH)
    client = subprocess.Popen(command(*array), cwd=ROOT, env=slurm, stderr=subprocess.PIPE, text=True)
    until(lambda: list(far.glob("slurm/*/submitted.tsv")), "the array is submitted")
    names = [line.split("\t")[0] for path in far.glob("slurm/*/submitted.tsv") for line in path.open()]
    assert [name.partition("_")[2] for name in names] == ["0", "1", "2"]
    tasks = [Task(slurm, far, name) for name in names]

    tasks[0].disturb("scontrol", "requeue", names[0])
    tasks[1].disturb("sbatch", "--partition=high", "--output=/dev/null", "--wrap=sleep 1")  # pre-empts it
    tasks[2].disturb("scancel", "--signal=USR2", names[2])  # as ahead of its time limit
    _, said = client.communicate(timeout=900)
    assert client.returncode == 0, said
    assert "3 of 3 records in" in said
    for task in tasks:
        assert task.log().count(START) == 2
        assert task.steps()[0] > 1, "it resumed where it had stopped"

    assert call(*words(near, "--methods", ",".join(METHODS), "--workers", "1")).returncode == 0
    for method in METHODS:
        one, other = (read(root / f"streets@quick/vit-tiny-streets/{method}/seed0.json") for root in (far, near))
        assert essence(one) == essence(other)
        for (name, ours), theirs in zip(confusions(one)[0].items(), confusions(other)[0].values(), strict=True):
            assert (ours == theirs).all(), name
    again = call(*array, **slurm)
    assert again.returncode == 0
    assert "3 of 3 runs are finished already" in again.stderr
    assert len(list(far.glob("slurm/*/submitted.tsv"))) == 1


def test_a_detached_array_is_found_again_and_a_cancelled_run_is_told(slurm: dict[str, str], tmp_path: Path) -> None:
    records = tmp_path / "runs"
    runs = words(records, "--methods", "freeze", "--seeds", "0,1", *LAUNCH)
    assert call(*runs, "--detach", **slurm).returncode == 0
    (path,) = records.glob("slurm/*/submitted.tsv")
    first, second = (Task(slurm, records, line.split("\t")[0]) for line in path.open())
    assert first.state() in ("PENDING", "RUNNING")
    subprocess.run(["scancel", second.name], env=slurm, check=True)
    done = call(*runs, **slurm)  # while the first still starts; it is a short run
    assert "1 of 2 runs are in the queue already" in done.stderr
    assert done.returncode == 0, done.stderr
    assert "2 of 2 records in" in done.stderr
    assert first.log().count(START) == 1
    assert second.log() == "", "it was cancelled before it began, and submitted again"


def test_the_documented_script_shares_one_run_among_processes(slurm: dict[str, str], tmp_path: Path) -> None:
    (script,) = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", (ROOT / "docs/cluster.md").read_text(), re.DOTALL)
    run = f"--quick --methods freeze --records {tmp_path}"
    for documented, here in (
        ("--nproc-per-node 4", "--nproc-per-node 2"),
        ("--protocol gtav-to-cbm --methods fishertune --data-root DIR", run),
    ):
        assert documented in script
        script = script.replace(documented, here)
    (tmp_path / "run.sh").write_text(script)
    output = f"--output={tmp_path / 'log'}"
    words = ["sbatch", "--wait", "--nodes=1", "--ntasks-per-node=1", "--requeue", "--time=600", output]
    environment = slurm | {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{slurm['PATH']}"}
    done = subprocess.run([*words, tmp_path / "run.sh"], env=environment, cwd=ROOT, timeout=1800, check=False)
    assert done.returncode == 0, (tmp_path / "log").read_text()
    record = read(tmp_path / "streets@quick/vit-tiny-streets/freeze/seed0.json")
    assert record.machine["processes"] == 2


def test_what_slurm_refuses_is_said_in_one_line(slurm: dict[str, str], tmp_path: Path) -> None:
    runs = words(tmp_path / "runs", "--methods", "freeze", "--launcher", "slurm", "--slurm", "partition=no")
    done = call(*runs, **slurm)
    assert done.returncode == 2
    assert "error: --slurm: sbatch: error: invalid partition specified: no" in done.stderr
