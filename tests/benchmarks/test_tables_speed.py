"""How long a thousand records take to become tables (compare runs with ``pytest-benchmark compare``)."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmark import tables
from benchmark.records import path_of, read_all
from benchmark.records.seal import sealed
from tests.records.made import confusion, record, stored

METHODS, BACKBONES, SEEDS = 20, 5, 10


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 1,000 records as long as true ones, without their confusions."""
    root = tmp_path_factory.mktemp("records")
    losses = [(step, {"ce": 1.0 / step, "extra": 0.5}) for step in range(10, 1010, 10)]
    made = record(confusion(0.8, 0), losses=losses)
    fields = made.model_dump(mode="json")
    for method, backbone, seed in itertools.product(range(METHODS), range(BACKBONES), range(SEEDS)):
        path = path_of(root, "streets", f"vit-{backbone}", f"method-{method}", seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        names = {"method": path.parent.name, "backbone": path.parent.parent.name, "seed": seed}
        hashes = {"batches_hash": f"b{seed}", "decoder_hash": f"d{seed}"}
        path.write_bytes(sealed(fields | names | hashes))
    return root


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
