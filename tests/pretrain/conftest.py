"""A few rendered frames, shared by all tests of pre-training."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.pretrain.frames import FrameStore, render_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    root: Path = tmp_path_factory.mktemp("frames")
    return render_store(root, frames=3, styles=2, seed=0, workers=1, tick=lambda done, parts: None)
