"""Find a label set: shipped in this folder, of another package, or in a YAML file."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark.common import reading, registry, strict_yaml
from benchmark.common.errors import UserError, nearest
from benchmark.labelsets.model import LabelClass, LabelSet

FOLDER = Path(__file__).parent


def shipped() -> list[str]:
    """Return the names of the label sets in this folder."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def known() -> list[str]:
    """Return every name that :func:`find` accepts, without importing other packages.

    Raises:
        UserError: a name is defined twice.
    """
    own, others = shipped(), registry.names("labelset")
    for name in own:
        if name in others:
            raise UserError(f"label set {name!r} is defined twice, also by {others[name]}; rename that one")
    return [*own, *others]


def find(name: str) -> LabelSet:
    """Return the label set ``name``.

    Raises:
        UserError: unknown name (the nearest is suggested); the entry point does not refer to a label set of this name.
    """
    if name in shipped():
        return _shipped(name)
    names = known()
    if name not in names:
        raise UserError(f"unknown label set {name!r}: {nearest(name, names)} (or give a .yaml file)")
    found = registry.find("labelset", name)
    if not isinstance(found, LabelSet) or found.name != name:
        raise UserError(f"label set {name!r}: {registry.require('labelset', name)} is not a LabelSet of this name")
    return found


@cache
def _shipped(name: str) -> LabelSet:
    return read(FOLDER / f"{name}.yaml")


def read(path: Path) -> LabelSet:
    """Return the label set in a YAML file.

    Raises:
        UserError: the file cannot be read, or a field is unknown, missing or invalid; names the file and the field.
    """
    try:
        content = strict_yaml.load(reading.read_text(path))
    except (OSError, *strict_yaml.UNREADABLE) as error:
        raise UserError(f"{path}: cannot be read as a label set: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be fields (classes: [...]), not {type(content).__name__}")
    try:
        return LabelSet.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        raise UserError(f"{path}: {_explained(error.errors()[0])}") from None


def _explained(first: Any) -> str:
    """Return a line about a validation error: the field, what is wrong, and a suggestion for a typo."""
    *above, last = map(str, first["loc"] or ("",))
    where = ".".join([*above, last])
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if first["type"] == "extra_forbidden":
        fields = (LabelClass if above else LabelSet).model_fields
        return f"unknown field {where}: {nearest(last, fields)}"
    if first["type"] == "missing":
        return f"field {where} is missing"
    return f"{where}: {first['msg']} (got {str(first['input'])[:60]})"
