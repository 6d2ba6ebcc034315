"""Strategies for invalid or malicious content of users' files, and a check that only UserError is raised."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeVar

from hypothesis import strategies as st

from benchmark.common.errors import UserError

Returned = TypeVar("Returned")
HOSTILE = (
    "", " ", ".", "..", "../x", "../../../etc/passwd", "/etc/passwd", "C:\\x", "a/b", "a\nb", "\x1b[2J", "a\u2028b",
    "%s", "{0}", "[/]", "\ud800", "\udcff", "x" * 300, "null", "1e999", "2001-99-99", "0x", "~", "-", "--", "@", "+",
    "٣",
)  # fmt: skip
words = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=12))
numbers = st.one_of(
    st.integers(-3, 300),
    st.sampled_from([2**31, 2**63, -(2**63), 10**30, 10**400]),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1.0, 1e-320, 1e308, math.inf, -math.inf, math.nan]),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, words)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=5
)

finite = st.floats(allow_nan=False, allow_infinity=False)
jsons = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 300), st.just(10**400), finite, words),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
"""Values that JSON can represent."""


def outcome(call: Callable[[], Returned]) -> Returned | str:
    """Return the result of ``call``, or the message of its UserError; any other exception is a defect."""
    try:
        return call()
    except UserError as error:
        line = str(error)
    assert line.isprintable(), f"not a single printable line: {line!r}"
    assert len(line) > 10, line
    return line


@st.composite
def edited(draw: st.DrawFn, document: Any, values: st.SearchStrategy[Any] = values) -> Any:
    """Draw ``document`` (nested dicts and lists) with one to three values overwritten, removed or added."""
    result = deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        parts = list(_containers(result))
        part = draw(st.sampled_from(parts))
        keys = list(part) if isinstance(part, dict) else list(range(len(part)))
        what = draw(st.sampled_from(["overwrite", "overwrite", "remove", "add"]))
        if what == "add" or not keys:
            if isinstance(part, dict):
                part[draw(words)] = draw(values)
            else:
                part.append(draw(values))
            continue
        key = draw(st.sampled_from(keys))
        if what == "remove":
            del part[key]
        else:
            part[key] = draw(values)
    return result


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Draw ``content`` truncated, or with bytes changed, inserted, repeated or removed."""
    result = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.one_of(st.integers(0, len(result)), st.integers(0, min(len(result), 200))))
        what = draw(st.sampled_from(["cut", "change", "change", "insert", "repeat", "drop"]))
        length = draw(st.integers(1, 16))
        if what == "cut":
            del result[place:]
        elif what == "change":
            result[place : place + length] = draw(st.binary(min_size=length, max_size=length))
        elif what == "insert":
            result[place:place] = draw(st.binary(min_size=1, max_size=16))
        elif what == "repeat":
            result[place:place] = result[place : place + 8 * length]
        else:
            del result[place : place + length]
    return bytes(result)


def _containers(value: Any) -> list[Any]:
    if not isinstance(value, (dict, list)):
        return []
    inner = value.values() if isinstance(value, dict) else value
    return [value, *(found for each in inner for found in _containers(each))]
