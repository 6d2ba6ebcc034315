"""Location of real frames, which are not part of the repository, and rendered frames for several files."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest

from benchmark.data import streets

SHARED = Path(__file__).resolve().parents[3] / "shared"
CAMVID = SHARED / "data" / "camvid"
needs_shared = pytest.mark.skipif(not CAMVID.is_dir(), reason="needs CamVid frames in ../shared/data/camvid")
Street = Callable[[str, int], streets.Frame]


@pytest.fixture(scope="session")
def street() -> Street:
    """Return a function that renders a frame of a domain, and keeps the last ones; tests must not change them."""
    return lru_cache(64)(streets.render)
