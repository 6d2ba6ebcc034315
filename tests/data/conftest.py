"""Where the real frames are that tests may read and nobody may copy."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"
CAMVID = SHARED / "data" / "camvid"
needs_shared = pytest.mark.skipif(not CAMVID.is_dir(), reason="needs CamVid frames in ../shared/data/camvid")
