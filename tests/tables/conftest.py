"""Gives every test of tables its own cache for resamples."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the cache at a folder of this test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DGSS_BENCHMARK_CACHE", str(folder))
    return folder
