"""Describe a pydantic validation error in one line."""

from __future__ import annotations

from types import NoneType
from typing import get_args

from pydantic import BaseModel, ValidationError

from benchmark.common.errors import nearest
from benchmark.labelsets import LabelSet
from benchmark.protocol.schema import ONE, SEVERAL, Split

WANTED = {
    "int_parsing": "a whole number", "int_type": "a whole number", "int_from_float": "a whole number",
    "float_parsing": "a number", "float_type": "a number",
    "bool_parsing": "true or false", "bool_type": "true or false",
    "string_type": "a text", "list_type": "a list", "tuple_type": "a list", "dict_type": "fields (name: value)",
    "model_type": "fields (name: value)", "model_attributes_type": "fields (name: value)",
}  # fmt: skip
"""What a value must be, by pydantic's name of the error."""


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return a line about the first validation error: the field, what is wrong, and a suggestion for a typo."""
    first = error.errors()[0]
    loc = tuple(part for part in first["loc"] if part not in (ONE, SEVERAL))
    where = ".".join(map(str, loc))
    prefix = f"{where}: " if where else ""
    if first["type"] == "missing":
        return f"field {where} is missing"
    if first["type"] == "value_error":
        return f"{prefix}{first['ctx']['error']}"
    if first["type"].startswith(("greater_than", "less_than", "finite_number")) and (limits := _limits(model, loc)):
        return f"{where}: must be {limits} (got {str(first['input'])[:60]})"
    wanted = first["ctx"]["expected"] if first["type"] in ("literal_error", "enum") else WANTED.get(first["type"])
    if wanted is not None:
        return f"{prefix}must be {wanted} (got {str(first['input'])[:60]})"
    if first["type"] != "extra_forbidden":
        return f"{prefix}{first['msg']} (got {str(first['input'])[:60]})"
    return f"unknown field {where}: {nearest(str(loc[-1]), _siblings(model, loc))}"


def _limits(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """Return the valid range of a number, such as "at least 0 and below 1"; pydantic names only one of the bounds."""
    *sections, last = map(str, loc)
    for section in sections:
        inner = _section(model, section)
        if inner is None:
            return ""
        model = inner
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    entries = model.model_fields[last].metadata
    sides = [f"{word} {getattr(each, key):g}" for key, word in words.items() for each in entries if hasattr(each, key)]
    return " and ".join(sides)


def _section(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """Return the class of the section with this name, which may be optional; None for another field."""
    annotation = model.model_fields[name].annotation if name in model.model_fields else None
    kinds = [each for each in get_args(annotation) if each is not NoneType] or [annotation]
    (kind, *others) = kinds
    return kind if not others and isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _siblings(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return the valid field names of the section that contains ``loc``."""
    for part in loc[:-1]:
        field = model.model_fields.get(str(part))
        inner = _section(model, str(part))
        if inner is not None:
            model = inner
        elif field is not None and str(part) in ("source", "targets"):
            model = Split
        elif field is not None and part == "label_sets":
            model = LabelSet
    return list(model.model_fields)
