"""Published parameter counts, read from ``published.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Published:
    """One published count.

    Attributes:
        source: abbreviation of the paper, see :func:`sources`.
        method: registered name; the method need not be registered yet.
        backbone: name in the catalogue.
        millions: the count in millions, with the paper's decimals.
        reason: why the architecture has another count; empty if they agree.
    """

    source: str
    method: str
    backbone: str
    millions: str
    reason: str

    def agrees(self, count: int) -> bool:
        """Return whether ``count``, rounded to the published decimals, equals the published number."""
        printed = Decimal(self.millions)
        return Decimal(count).scaleb(-6).quantize(printed, ROUND_HALF_UP) == printed


def published() -> list[Published]:
    """Return every published count, in the file's order."""
    file = _file()
    return [
        Published(
            entry["source"], entry["method"], backbone, millions,
            file["reasons"][entry["differs"][backbone]] if backbone in entry.get("differs", {}) else "",
        )
        for entry in file["counts"]
        for backbone, millions in entry["counts"].items()
    ]  # fmt: skip


def sources() -> dict[str, str]:
    """Return the papers by their abbreviations."""
    return dict(_file()["sources"])


@cache
def _file() -> Any:
    return yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))
