"""Command latency: help, the table of a thousand records, concurrent runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmark.common import registry
from tests.benchmarks.thousand import BACKBONES, METHODS, written
from tests.cli.test_cli import call

pytestmark = pytest.mark.slow


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
