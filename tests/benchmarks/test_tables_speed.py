"""Time to build tables from a thousand records (compare runs with ``pytest-benchmark compare``)."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmark import tables
from benchmark.records import read_all
from tests.benchmarks.thousand import BACKBONES, METHODS, written
from tests.records.made import stored


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("records"))


def test_a_thousand_records_become_tables(benchmark: BenchmarkFixture, thousand: Path) -> None:
    found = benchmark(lambda: [tables.latex(table) for table in tables.build(read_all(thousand))])
    assert len(found) == BACKBONES
    assert all(text.count("\\\\\n") == METHODS + 1 for text in found)


@pytest.mark.parametrize("kept", [False, True], ids=["first time", "again"])
def test_bold_is_worked_out(
    benchmark: BenchmarkFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    caches = (tmp_path / f"cache-{number}" for number in itertools.count())
    for method in range(9):
        for seed in range(3):
            stored(tmp_path / "records", f"method-{method}", seed, 0.5 + 0.05 * method)
    records = read_all(tmp_path / "records")

    def point() -> None:
        monkeypatch.setenv("DGSS_BENCHMARK_CACHE", str(tmp_path / "cache") if kept else str(next(caches)))

    point()
    tables.build(records)
    (table,) = benchmark.pedantic(tables.build, (records,), setup=point, rounds=5)
    best = next(index for index, column in enumerate(table.columns) if column.head == "Avg.")
    assert table.rows[-1].cells[best].best
