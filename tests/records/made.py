"""Small valid records with scores computed from random confusion matrices."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark import records
from benchmark.records import Record, Score

CLASSES = ("road", "building", "sky")
TARGETS = ("cityscapes", "bdd100k", "mapillary")
FIELDS: dict[str, Any] = {
    "name": "streets",
    "source": {"dataset": "gta5", "split": "train", "limit": None},
    "targets": {name: {"dataset": name, "split": "val"} for name in TARGETS},
    "iterations": 500,
    "decoder": {"lr": 3e-3, "warmup": 100},
}
Confusions = dict[str, npt.NDArray[np.int32]]


def confusion(accuracy: float, seed: int, images: int = 12, targets: tuple[str, ...] = TARGETS) -> Confusions:
    """Return per-image confusion matrices of the source and ``targets`` with about this pixel accuracy."""
    classes = len(CLASSES)
    rng = np.random.default_rng(seed)
    wrong = (1 - accuracy) / (classes - 1)
    probabilities = np.full((classes, classes), wrong) + np.eye(classes) * (accuracy - wrong)
    found = {}
    for name in ("source", *targets):
        rows = rng.integers(200, 400, (images, classes))
        found[name] = rng.multinomial(rows, probabilities).astype(np.int32)
    return found


def names(matrices: Confusions) -> dict[str, list[str]]:
    """Return image names of every domain."""
    return {domain: [f"{domain}-{i:03}" for i in range(len(each))] for domain, each in matrices.items()}


def record(matrices: Confusions, method: str = "lora", seed: int = 0, **changes: Any) -> Record:
    """Return the record of a finished run with the scores of ``matrices``."""
    scores = {domain: Score.of(each) for domain, each in matrices.items()}
    source = scores.pop("source")
    average = sum(score.miou for score in scores.values()) / len(scores)
    rows = {"average": average, "targets": {domain: score.miou for domain, score in scores.items()}}
    now = datetime(2025, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
    facts: dict[str, Any] = {
        "protocol": "streets", "protocol_fields": FIELDS, "fingerprint": "f1" * 32, "data_hash": "da" * 32,
        "batches_hash": f"ba{seed}", "decoder_hash": f"de{seed}", "classes": CLASSES,
        "backbone": "vit-tiny-streets", "weights_hash": "3e" * 32, "method": method, "label": method.capitalize(),
        "settings": {"lr": 1e-3, "layers": ["qkv"]}, "origins": {"lr": "paper", "layers": "ours"}, "seed": seed,
        "state": "finished", "trainable": {"backbone": 294912, "decoder": 350000},
        "losses": [(10, {"ce": 1.5}), (20, {"ce": 1.25})], "source": source, "targets": scores, "average": average,
        "oracle": {"iteration": 500, **rows}, "evaluations": [{"iteration": 500, **rows}],
        "seconds": {"tune": 12.5, "evaluation": 3.0}, "cpu_seconds": 15.25 + seed, "peak_memory_bytes": 10**9,
        "versions": {"python": "3.11"}, "commit": "c" * 40, "machine": {"cores": 2}, "started": now, "finished": now,
        "report": {"selected": 7},
    }  # fmt: skip
    return Record(**facts | changes)


def failed(method: str = "lora", seed: int = 0, **changes: Any) -> Record:
    """Return the record of a failed run."""
    none: dict[str, Any] = {"source": None, "targets": {}, "average": None, "oracle": None, "evaluations": ()}
    return record(confusion(0.5, seed), method, seed, **none | {"state": "failed", "error": "ce is nan"} | changes)


def stored(
    root: Path,
    method: str = "lora",
    seed: int = 0,
    accuracy: float = 0.8,
    weights: dict[str, bytes] | None = None,
    **changes: Any,
) -> Record:
    """Write the record of a finished run below ``root`` and read it again."""
    matrices = confusion(accuracy, seed)
    made = record(matrices, method, seed, **changes)
    return records.read(records.write(made, matrices, names(matrices), root, weights))
