"""Headings of a board. A domain that is rendered never appears under the name of a real data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.common import registry
from benchmark.tables.notes import RENDERED, spelling

TAG = "rendered"


@dataclass(frozen=True)
class Head:
    """A column's heading, a remark below it, and whether the column is numeric."""

    text: str
    aside: str = ""
    number: bool = True


def domain(name: str, fields: Mapping[str, Any]) -> Head:
    """Return the heading of an unseen domain.

    A rendered one is marked. If its name is that of a real data set, or of a part of one, it is called by its look.

    Args:
        name: the target's name in the protocol.
        fields: the recorded protocol.
    """
    targets = fields.get("targets")
    split = targets.get(name) if isinstance(targets, dict) else None
    if not is_rendered(split):
        return Head(spelling(name))
    assert isinstance(split, dict)
    look = str(split.get("split")).partition("/")[0]
    return Head(spelling(look if _real(name) else name), TAG)


def source(fields: Mapping[str, Any]) -> Head:
    """Return the heading of the held-out source images."""
    return Head("Source", TAG if is_rendered(fields.get("validation")) else "")


def data(fields: Mapping[str, Any]) -> str:
    """Return in a few words which data this project renders; empty for none of it."""
    targets = fields.get("targets")
    unseen = [is_rendered(split) for split in targets.values()] if isinstance(targets, dict) else []
    stated = fields.get("source")
    trained = [is_rendered(split) for split in (stated if isinstance(stated, list) else [stated])]
    if not any(unseen):
        return "source rendered here" if any(trained) else ""
    return "rendered here" if all(unseen + trained) else "partly rendered here"


def is_rendered(split: object) -> bool:
    """Return whether a split of a recorded protocol is of a data set that this project renders."""
    return isinstance(split, dict) and split.get("dataset") in RENDERED


def _real(name: str) -> bool:
    datasets = {each for each in registry.names("dataset") if each not in RENDERED}
    return any(name == each or name.startswith(f"{each}-") for each in datasets)
