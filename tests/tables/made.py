"""Synthetic records of the real protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark import protocol, records
from benchmark.records import Record
from tests.records.made import confusion, names, record


def kept(
    root: Path, name: str, backbone: str, method: str, seeds: int = 2, accuracy: float = 0.8, **changes: Any
) -> list[Record]:
    """Write records of finished runs under the current protocol, one per seed; return them as read back."""
    fixed = protocol.load(name)
    facts = {
        "protocol": fixed.name, "protocol_fields": fixed.fields(), "fingerprint": fixed.fingerprint(),
        "backbone": backbone,
    }  # fmt: skip
    found = []
    for seed in range(seeds):
        matrices = confusion(accuracy, seed, targets=tuple(fixed.targets))
        made = record(matrices, method, seed, **facts | changes)
        found.append(records.read(records.write(made, matrices, names(matrices), root)))
    return found
