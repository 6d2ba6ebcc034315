"""Location of real frames, which are not part of the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"
CAMVID = SHARED / "data" / "camvid"
needs_shared = pytest.mark.skipif(not CAMVID.is_dir(), reason="needs CamVid frames in ../shared/data/camvid")
