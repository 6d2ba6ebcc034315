"""Fixtures: tiny runs of two methods, and a cache per test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs.made import run_freeze_and_bitfit


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """Return the folder of records of Freeze and BitFit on the tiny protocol, with saved predictions."""
    folder = tmp_path_factory.mktemp("runs")
    run_freeze_and_bitfit(folder, tiny_data)
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the cache, which may hold rendered images, at a folder of this test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DGSS_BENCHMARK_CACHE", str(folder))
    return folder
