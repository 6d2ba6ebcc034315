"""Writes many records of realistic length."""

from __future__ import annotations

import itertools
from pathlib import Path

from benchmark.records import path_of
from benchmark.records.seal import sealed
from tests.records.made import confusion, record

METHODS, BACKBONES, SEEDS = 20, 5, 10


def written(root: Path, seeds: int = SEEDS) -> Path:
    """Write 100 records per seed, without confusion files, to ``root``; return it."""
    losses = [(step, {"ce": 1.0 / step, "extra": 0.5}) for step in range(10, 1010, 10)]
    made = record(confusion(0.8, 0), losses=losses)
    fields = made.model_dump(mode="json") | {"protocol": "own"}
    for method, backbone, seed in itertools.product(range(METHODS), range(BACKBONES), range(seeds)):
        path = path_of(root, "own", f"vit-{backbone}", f"method-{method}", seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        names = {"method": path.parent.name, "backbone": path.parent.parent.name, "seed": seed}
        hashes = {"batches_hash": f"b{seed}", "decoder_hash": f"d{seed}"}
        path.write_bytes(sealed(fields | names | hashes))
    return root
