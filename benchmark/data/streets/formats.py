"""Palettes and class lists of the official label formats (``formats.json``)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def facts() -> dict[str, Any]:
    """Return the content of ``formats.json``."""
    loaded: dict[str, Any] = json.loads(Path(__file__).with_name("formats.json").read_text(encoding="utf-8"))
    return loaded
