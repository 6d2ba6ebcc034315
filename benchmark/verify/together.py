"""Checks of records against each other: duplicates, conditions, images."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence

from benchmark.common.errors import UserError
from benchmark.records import Record, confusions
from benchmark.records.naming import base
from benchmark.tables.comparable import check
from benchmark.verify.fault import Fault

REMOVE = "remove the copy"


def checks(records: Sequence[Record]) -> Iterator[Fault | str]:
    """Yield every fault that only shows beside other records.

    Args:
        records: those without a fault of their own, sorted by path.
    """
    runs: dict[str, Record] = {}
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        twin = runs.setdefault(record.name, record)
        if twin is record:
            groups[record.protocol, record.backbone].append(record)
        else:
            yield Fault.of(record, "seed", f"the same run as {twin.path}", REMOVE)
    for group in groups.values():
        yield from _conditions(group)
        yield from _results(group)


def _conditions(records: Sequence[Record]) -> Iterator[str]:
    """Check every record against the first, and against the first of its seed."""
    finished = sorted(records, key=lambda record: record.state != "finished")  # a failed run may lack hashes
    seeds: dict[int, Record] = {}
    for record in finished:
        try:
            check([finished[0], seeds.setdefault(record.seed, record), record])
        except UserError as error:
            yield str(error)


def _results(records: Sequence[Record]) -> Iterator[Fault]:
    """Check that no two runs have identical results, and that all were evaluated on the same images."""
    results: dict[str, Record] = {}
    images: dict[str, tuple[Record, list[str]]] = {}
    for record in records:
        if record.state != "finished":
            continue
        matrices, ids = confusions(record)
        digest = hashlib.sha256(b"".join(matrices[name].tobytes() for name in sorted(matrices))).hexdigest()
        twin = results.setdefault(digest, record)
        if _copied(twin, record):
            yield Fault.of(record, "confusion", f"identical to that of {twin.path}", REMOVE)
        for domain, names in ids.items():
            other, known = images.setdefault(domain, (record, names))
            if known != names:
                what = f"other images of {domain} than in {other.path}"
                yield Fault.of(record, "confusion", what, "evaluate both on the same files and run one of them again")


def _copied(one: Record, other: Record) -> bool:
    """Return whether two runs that must differ have the same results.

    They may be equal with the same seed and method, where a hyperparameter was given that equals its default, or where
    neither trains the backbone.
    """
    if one.seed != other.seed:
        return True
    trains = all(record.trainable is not None and record.trainable.backbone for record in (one, other))
    return base(one.method) != base(other.method) and trains
