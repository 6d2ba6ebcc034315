"""A run's record: one JSON file, written whole or not at all, and believed only after its checks.

A record lies in ``<root>/<protocol>/<backbone>/<method>/seed<k>.json``; beside it, ``seed<k>.npz`` holds every
evaluated image's confusion matrix, from which each score in the record can be computed again. ``seed<k>.examples.npz``
holds what was predicted on a few images (:mod:`benchmark.artifacts.predictions`). What the run made of the weights
is in ``seed<k>.decoder.safetensors`` and, of the backbone's side, ``seed<k>.delta.safetensors`` where the method chose
single weights (:mod:`benchmark.artifacts.delta`), else ``seed<k>.tuned.safetensors``
(:mod:`benchmark.artifacts.adapter`). These are for use, not for belief: a record is good without them. A record is
never edited: its checksum covers every field. Nothing here needs torch, so that tables are quick.
"""

from benchmark.records.model import SOURCE, Evaluation, Record, Score, Sidecar, Trainable
from benchmark.records.store import confusions, content, find, path_of, paths, read, read_all, write

__all__ = [
    "SOURCE",
    "Evaluation",
    "Record",
    "Score",
    "Sidecar",
    "Trainable",
    "confusions",
    "content",
    "find",
    "path_of",
    "paths",
    "read",
    "read_all",
    "write",
]
