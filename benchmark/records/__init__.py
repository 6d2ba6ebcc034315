"""The record of a run: one JSON file, written atomically and verified when read.

The record is ``<root>/<protocol>/<backbone>/<method>/seed<k>.json``. These files are in the same folder:

- ``seed<k>.npz``: the confusion matrix of every evaluated image, from which each score can be computed again.
- ``seed<k>.examples.npz``: predictions on a few images (:mod:`benchmark.artifacts.predictions`).
- ``seed<k>.decoder.safetensors``: the trained decoder.
- ``seed<k>.delta.safetensors``: the changed weights of the backbone if the method selects single weights
  (:mod:`benchmark.artifacts.delta`), else ``seed<k>.tuned.safetensors`` (:mod:`benchmark.artifacts.adapter`).

A record is valid without examples and weights. Records must not be edited: the checksum covers every field. Nothing
here imports torch, so that tables are quick.
"""

from benchmark.records.model import SOURCE, Checkpoint, Evaluation, Record, Score, ScoredIn, Segment, Sidecar, Trainable
from benchmark.records.store import arrays, confusions, content, find, path_of, paths, read, read_all, write

__all__ = [
    "SOURCE",
    "Checkpoint",
    "Evaluation",
    "Record",
    "Score",
    "ScoredIn",
    "Segment",
    "Sidecar",
    "Trainable",
    "arrays",
    "confusions",
    "content",
    "find",
    "path_of",
    "paths",
    "read",
    "read_all",
    "write",
]
