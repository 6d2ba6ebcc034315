"""Evaluate a released checkpoint on the targets of a protocol, and record the scores."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.common import machine, registry
from benchmark.data import loading
from benchmark.data.domains import Domain, files_hash
from benchmark.data.loader import EvaluationSet
from benchmark.evaluation.evaluate import evaluate
from benchmark.protocol import Protocol
from benchmark.records import Checkpoint, Record, Score, read, write
from benchmark.released.reading import Loaded
from benchmark.runs.experiment import scored_in

SHORT = 12
"""Digits of the hash in the name of the record."""


def score(
    loaded: Loaded, source: Checkpoint, protocol: Protocol, domains: Mapping[str, Domain], records: Path,
    tick: Callable[[], None] = lambda: None,
) -> Record:  # fmt: skip
    """Evaluate a checkpoint on all targets, write the record and return it.

    Args:
        loaded: the checkpoint's model.
        source: the file.
        protocol: the conditions of the evaluation.
        domains: the targets, by name.
        records: folder of records.
        tick: called after each image.
    """
    started, clock = datetime.now(timezone.utc), time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    segmenter, workers = loaded.segmenter.to(device), loading.data_workers(None, 1)
    classes, matrices = protocol.label_set().names, {}
    for name, domain in domains.items():
        data = EvaluationSet(domain.samples, domain.reader, test_size=domain.test_size)
        with loading.watched(), closing(loading.samples(data, range(len(data)), workers)) as items:
            matrices[name] = evaluate(
                segmenter, items, len(classes), protocol.evaluation, device, tick, merge=domain.merge
            )
    record = Record.model_validate(
        _facts(loaded, source, protocol)
        | _scores(matrices)
        | {
            "classes": classes,
            "data_hash": files_hash(domains),
            "data_notes": {name: domain.notes for name, domain in domains.items() if domain.notes},
            "scored_in": scored_in(domains),
            "seconds": {"evaluation": time.monotonic() - clock},
            "peak_memory_bytes": machine.peak_memory(),
            "machine": {**machine.describe(torch.get_num_threads()), "data_workers": workers},
            "started": started.isoformat(timespec="seconds"),
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
    )
    ids = {name: [sample.id for sample in domain.samples] for name, domain in domains.items()}
    return read(write(record, matrices, ids, records))


def _facts(loaded: Loaded, source: Checkpoint, protocol: Protocol) -> dict[str, Any]:
    """Return what a record says about checkpoint, model and protocol."""
    decoder = sum(parameter.numel() for parameter in loaded.segmenter.decoder.parameters())
    return {
        "protocol": protocol.name,
        "protocol_fields": protocol.fields(),
        "fingerprint": protocol.fingerprint(),
        "backbone": loaded.segmenter.backbone.name,
        "weights_hash": loaded.weights_hash,
        "vfm": loaded.segmenter.backbone.facts(),
        # A folder of its own for each file, in which no run is ever looked for.
        "method": f"{source.method}[checkpoint={source.sha256[:SHORT]}]",
        "label": f"{registry.find('method', source.method).label}, {source.file}",
        "settings": dict(loaded.settings),
        "origins": dict.fromkeys(loaded.settings, "given"),
        "seed": 0,
        "state": "finished",
        "trainable": {"backbone": loaded.method.trainable(), "decoder": decoder},
        "checkpoint": source,
        "versions": machine.versions(),
        "commit": machine.commit(),
    }


def _scores(matrices: Mapping[str, np.ndarray]) -> dict[str, Any]:
    targets = {name: Score.of(each) for name, each in matrices.items()}
    return {"targets": targets, "average": math.fsum(each.miou for each in targets.values()) / len(targets)}
