"""Two methods' tiny runs on real files, and a reader of pages that believes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmark.runs.one_run import train_and_record
from tests.conftest import TINY
from tests.training.test_trainer import job_of


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """The folder of the records of Freeze and BitFit on the tiny protocol, with what they predict."""
    folder = tmp_path_factory.mktemp("runs")
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY | {"iterations": 4}), encoding="utf-8")
    for method in ("freeze", "bitfit"):
        train_and_record(job_of(path, tiny_data, folder, method))
    path.unlink()
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the cache, in which rendered images would be found, at a folder of this test alone."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DGSS_BENCHMARK_CACHE", str(folder))
    return folder
