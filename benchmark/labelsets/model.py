"""The fields of a label set, and the many-to-one merge of one set into another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchmark.common.errors import nearest

IGNORE = 255
Byte = Annotated[int, Field(ge=0, le=255, strict=True)]
Name = Annotated[str, Field(min_length=1, max_length=60)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelClass(_Model):
    """One class: its name, the colour (RGB) in which it is shown, and its ids in label files.

    Without ``ids``, its id is its place in the label set, from 0.
    """

    name: Name
    color: tuple[Byte, Byte, Byte]
    ids: tuple[Byte, ...] = ()


class LabelSet(_Model):
    """The classes of a model or data set, in the order of their train ids.

    Attributes:
        name: name of the set; of a set read from a file, by default, that of the file.
        classes: the classes.
        ignored: ids in label files that belong to no class.
        merges: many-to-one merges into this set, by the set merged from: which of its classes make up each class here.
            A class of the other set that is not named has no counterpart.
    """

    name: Name
    classes: Annotated[tuple[LabelClass, ...], Field(min_length=2, max_length=IGNORE)]
    ignored: tuple[Byte, ...] = (IGNORE,)
    merges: dict[str, dict[str, tuple[str, ...]]] = {}

    @model_validator(mode="after")
    def _consistent(self) -> LabelSet:
        if not all(name.isprintable() for name in (self.name, *self.names)):
            raise ValueError("a name contains a line break or control character; remove it")
        if (twice := _repeated([name.casefold() for name in self.names])) is not None:
            raise ValueError(f"classes: {twice!r} is given twice, whatever the case; rename one")
        ids = [*(each for one in self._ids() for each in one), *self.ignored]
        if (again := _repeated(ids)) is not None:
            raise ValueError(f"classes: id {again} is given twice; each id has one class, or is ignored")
        for other, parts in self.merges.items():
            for name in parts:
                if name not in self.names:
                    raise ValueError(f"merges.{other}: no class {name!r} here: {nearest(name, self.names)}")
            if (twice := _repeated(part for merged in parts.values() for part in merged)) is not None:
                raise ValueError(f"merges.{other}: {twice!r} is given twice; merge it into one class only")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Class names, by train id."""
        return tuple(each.name for each in self.classes)

    @property
    def colors(self) -> tuple[tuple[int, int, int], ...]:
        """Class colours, by train id."""
        return tuple(each.color for each in self.classes)

    def train_ids(self) -> dict[int, int]:
        """Return the train id of each id in label files; 255 for ignored ones."""
        classes = {stored: train for train, ids in enumerate(self._ids()) for stored in ids}
        return classes | dict.fromkeys(self.ignored, IGNORE)

    def _ids(self) -> list[tuple[int, ...]]:
        return [each.ids or (place,) for place, each in enumerate(self.classes)]


@dataclass(frozen=True)
class Merge:
    """A many-to-one mapping of the classes of one set to those of another.

    Attributes:
        into: the other set.
        index: by train id of the first set, the train id in the other, or ``len(into.classes)`` for no counterpart.
        wrong: classes of the first set without counterpart: as predictions, they are wrong wherever they are made.
        excluded: classes of the other set into which nothing is merged: no prediction can be right there.
    """

    into: LabelSet
    index: tuple[int, ...]
    wrong: tuple[str, ...]
    excluded: tuple[str, ...]


def merge(one: LabelSet, into: LabelSet) -> Merge | None:
    """Return the merge of the set ``one`` into another set; None if both have the same classes.

    Raises:
        ValueError: there is none, or it names a class that ``one`` does not have; the message names both sets.
    """
    if one.names == into.names:
        return None
    if one.name not in into.merges:
        raise ValueError(f"label set {into.name!r} states no merge from {one.name!r}; add merges.{one.name} to it")
    parts = into.merges[one.name]
    place = {part: into.names.index(name) for name, merged in parts.items() for part in merged}
    if unknown := [part for part in place if part not in one.names]:
        raise ValueError(
            f"label set {into.name!r}: merges.{one.name}: {one.name!r} has no class {unknown[0]!r}: "
            f"{nearest(unknown[0], one.names)}"
        )
    none = len(into.classes)
    index = tuple(place.get(name, none) for name in one.names)
    wrong = tuple(name for name in one.names if name not in place)
    return Merge(into, index, wrong, tuple(name for name in into.names if not parts.get(name)))


def _repeated(values: Iterable[Any]) -> Any:
    """Return the first value that occurs a second time, or None."""
    seen: set[Any] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None
