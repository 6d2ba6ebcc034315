"""Rows of released checkpoints: below the runs of a table in a group of their own, never marked or compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmark.common.errors import UserError
from benchmark.records import Record
from benchmark.tables.layout import Cell, Row
from benchmark.tables.runs import Runs, cell, mean_score, trainable_cell

GROUP = "Released checkpoints"
NOTE = (
    "Released checkpoints: evaluated under this protocol, but trained by their authors under conditions of their own, "
    "and not on held-out source images."
)


def split(records: Iterable[Record]) -> tuple[list[Record], list[Record]]:
    """Return the records of runs and those of released checkpoints, each in the given order."""
    found = list(records)
    return [each for each in found if each.checkpoint is None], [each for each in found if each.checkpoint is not None]


def check(released: Sequence[Record], runs: Runs) -> None:
    """Check that checkpoints were evaluated on as many images as the runs, and under the same protocol.

    Raises:
        UserError: they were not; the message names both records.
    """
    for other in [each for each in runs.all if each.state == "finished" and each.checkpoint is None][:1]:
        for record in released:
            if _conditions(record) != _conditions(other):
                raise UserError(
                    f"{record.path or record.name} and {other.path or other.name} cannot share a table: other images "
                    "or another version of the protocol; evaluate the checkpoint again"
                )


def _conditions(record: Record) -> tuple[str, dict[str, int]]:
    return record.fingerprint, {name: score.images for name, score in record.targets.items()}


def rows(released: Sequence[Record], domains: Mapping[str, Sequence[str]]) -> list[Row]:
    """Return one row per checkpoint, in the columns of the main table; what is not known of it stays empty.

    Args:
        released: their records.
        domains: the targets that each column of scores averages.
    """
    return [
        Row(
            record.method,
            record.label,
            (
                trainable_cell([record]),
                *(cell([record], mean_score(each)) for each in domains.values()),
                Cell(),
                Cell(),
                Cell(1),
            ),
            GROUP,
        )
        for record in released
    ]


def notes(released: Sequence[Record]) -> list[str]:
    """Return the note on the rows, with the hash of each file."""
    if not released:
        return []
    files = [f"{each.checkpoint.file} {each.checkpoint.sha256[:12]}" for each in released if each.checkpoint]
    return [f"{NOTE} SHA-256: {', '.join(files)}."]
