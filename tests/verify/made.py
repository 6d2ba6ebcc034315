"""Records without fault: of a user's own protocol, with the hyperparameters and parameter counts of real methods."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import records
from benchmark.common import machine, registry
from benchmark.records import Record
from tests.records.made import FIELDS, confusion, names, record

COUNTS = {"lora": 36_864, "bitfit": 13_056, "freeze": 0}
"""Trainable parameters of vit-tiny-streets."""
OWN: dict[str, Any] = FIELDS | {"name": "own"}
MACHINE = {"system": "Linux x86_64", "processor": "AMD EPYC", "cores": 2, "memory_bytes": 2 * 10**10}


def fingerprint(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def sound(root: Path, method: str = "lora", seed: int = 0, accuracy: float = 0.8, **changes: Any) -> Record:
    """Write the record of a finished run and return it as read back; ``changes`` may introduce faults."""
    settings = registry.find("method", method.partition("[")[0]).Settings()
    fields = changes.get("protocol_fields", OWN)
    facts: dict[str, Any] = {
        "protocol": "own", "protocol_fields": fields, "fingerprint": fingerprint(fields),
        "settings": settings.model_dump(mode="json"), "origins": settings.origins(),
        "trainable": {"backbone": COUNTS[method.partition("[")[0]], "decoder": 350_000},
        "versions": machine.versions(), "machine": MACHINE,
    }  # fmt: skip
    # Several methods with about the same scores have other confusions.
    matrices = confusion(accuracy, 1000 * seed + int(np.frombuffer(method.encode(), np.uint8).sum()))
    made = record(matrices, method, seed, **facts | changes)
    return records.read(records.write(made, matrices, names(matrices), root), verify=False)


def moment(year: int) -> datetime:
    return datetime(year, 3, 4, tzinfo=timezone.utc)
