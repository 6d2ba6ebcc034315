"""A run's record: one JSON file, written whole or not at all, and believed only after its checks.

A record lies in ``<root>/<protocol>/<backbone>/<method>/seed<k>.json``; beside it, ``seed<k>.npz`` holds every
evaluated image's confusion matrix, from which each score in the record can be computed again. A record is
never edited: its checksum covers every field. Nothing here needs torch, so that tables are quick.
"""

from benchmark.records.model import SOURCE, ConfusionFile, Evaluation, Record, Score, Trainable
from benchmark.records.store import confusions, path_of, paths, read, read_all, write

__all__ = [
    "SOURCE",
    "ConfusionFile",
    "Evaluation",
    "Record",
    "Score",
    "Trainable",
    "confusions",
    "path_of",
    "paths",
    "read",
    "read_all",
    "write",
]
