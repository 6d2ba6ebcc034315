"""Command latency: help, start-up, the table of a thousand records, concurrent runs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmark.common import registry
from tests.benchmarks.thousand import BACKBONES, METHODS, written
from tests.cli.test_cli import ROOT, call, command

pytestmark = pytest.mark.slow
Process = subprocess.Popen[str]
ITERATION, FINISHED = r" seed 0: \d+/", r"^\[1/2\]"
"""Lines of a run that trains, and of the first of two runs that has ended."""


def test_help(benchmark: BenchmarkFixture) -> None:
    done = benchmark.pedantic(call, ("--help",), rounds=5, warmup_rounds=1)
    assert done.returncode == 0, done.stderr
    assert "fishertune" in done.stdout.lower()


def test_table_of_a_thousand_records(
    benchmark: BenchmarkFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DGSS_BENCHMARK_CACHE", str(tmp_path / "cache"))
    words = ("table", "--records", written(tmp_path / "records"))
    done = benchmark.pedantic(call, words, rounds=3, warmup_rounds=0)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\\\\\n") == BACKBONES * (METHODS + 1)


@pytest.mark.usefixtures("asked_for")
@pytest.mark.parametrize("workers", [1, 2])
def test_all_quick_runs(benchmark: BenchmarkFixture, tmp_path: Path, workers: int) -> None:
    words = ("run", "--all", "--quick", "--workers", str(workers), "--records", tmp_path)
    call("run", "--quick", "--methods", "freeze", "--records", tmp_path / "first")  # renders the data if missing
    done = benchmark.pedantic(call, words, rounds=1)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("streets@quick/**/seed0.json"))) == len(set(registry.main_methods()) - {"lp-ft"})


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start a sweep of two runs, one after the other, in a new folder; all are killed in the end."""
    call("run", "--quick", "--methods", "freeze", "--records", tmp_path / "rendered")  # renders the data if missing
    made: list[Process] = []

    def start(*options: str) -> Process:
        records = tmp_path / str(len(made))
        words = command("run", *options, "--methods", "freeze,bitfit", "--workers", "1", "--records", records)
        made.append(subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True))
        return made[-1]

    yield start
    for process in made:
        process.kill()
        process.communicate()


def until(process: Process, line: str) -> None:
    """Read what a process prints up to a line that contains this regular expression."""
    assert process.stderr is not None
    assert any(re.search(line, each) for each in process.stderr), f"no line {line!r}"


@pytest.mark.usefixtures("asked_for")
@pytest.mark.parametrize("what", ["imports-torch and timm", "first iteration", "next run"])
def test_start(benchmark: BenchmarkFixture, sweep: Callable[..., Process], what: str) -> None:
    """From the command to its first iteration, and from the end of a short run to the first iteration of the next."""
    if what.startswith("imports"):
        words = [sys.executable, "-c", "import torch, timm"]
        benchmark.pedantic(subprocess.run, (words,), {"check": True}, rounds=3, warmup_rounds=1)
    elif what == "first iteration":
        benchmark.pedantic(lambda: until(sweep(), ITERATION), rounds=3)
    else:

        def finished() -> tuple[tuple[Process, str], dict[str, str]]:
            process = sweep("--quick")
            until(process, FINISHED)
            return (process, ITERATION), {}

        benchmark.pedantic(until, setup=finished, rounds=3)
