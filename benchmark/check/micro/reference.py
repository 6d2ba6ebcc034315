"""The file of micro-references: each number with its tolerance, and where it was measured.

A tolerance is :data:`FACTOR` times the largest difference between the measured conditions (threads, vector
instructions, versions of torch), plus a floor relative to the size of the object that the number belongs to.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.common import atomic, machine, reading, strict_json
from benchmark.common.atomic import writing
from benchmark.common.errors import UserError

PLACE = Path("check") / "micro.yaml"
"""The file, within the folder of the reference records; JSON, which is YAML, too, and is read faster.

A ``*.json`` below that folder would be a record.
"""
FACTOR = 10.0
FLOOR = 1e-9
ABSOLUTE = 1e-13
LARGEST = 1e-3
"""Largest tolerance relative to the size of the object: what differs by more between versions of libraries is left out,
with the reason."""
AGAIN = "compute it again: tox -e check-micro"
Values = Mapping[str, Mapping[str, float]]
"""Numbers by case and name."""


class Conditions(BaseModel):
    """One of the conditions in which all cases were computed."""

    model_config = ConfigDict(extra="forbid")

    threads: int
    environment: dict[str, str]
    versions: dict[str, str]


class Micro(BaseModel):
    """The content of the file.

    Attributes:
        commit: of the code.
        measured: the conditions; the numbers are those of the first.
        left_out: numbers that differ between conditions by more than rounding, as ``CASE: NUMBER``, and the difference.
        cases: by case and name, each number and its tolerance.
    """

    model_config = ConfigDict(extra="forbid")

    commit: str | None
    measured: list[Conditions]
    left_out: dict[str, str]
    cases: dict[str, dict[str, tuple[float, float]]]


def read(folder: Path) -> Micro:
    """Return the micro-references below ``folder``.

    Raises:
        UserError: no such file, or a damaged one.
    """
    path = folder / PLACE
    try:
        return Micro.model_validate(strict_json.load(reading.read_text(path)))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}; {AGAIN}") from None
    except (ValidationError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({str(error).splitlines()[0]}); {AGAIN}") from None


def write(folder: Path, measured: Sequence[tuple[Conditions, Values]]) -> Path:
    """Write the numbers of the first conditions with tolerances from all of them; return the file.

    Raises:
        UserError: the folder cannot be written, a number is not finite, or the conditions have different numbers.
    """
    (_, first), *others = measured
    cases: dict[str, dict[str, tuple[float, float]]] = {}
    left_out: dict[str, str] = {}
    for case, numbers in first.items():
        sizes, cases[case] = _sizes(numbers), {}
        for name, value in numbers.items():
            if any(values.get(case, {}).keys() != numbers.keys() for _, values in others) or not math.isfinite(value):
                raise UserError(f"{case}: {name}: not finite, or not the same numbers in all conditions; mend the case")
            apart = max((abs(values[case][name] - value) for _, values in others), default=0.0)
            size = sizes[_object(name)]
            if not apart <= LARGEST / FACTOR * size + ABSOLUTE:
                left_out[f"{case}: {name}"] = f"differs by {apart:.2g} between the measured conditions"
            else:
                cases[case][name] = (value, float(f"{FACTOR * apart + FLOOR * size + ABSOLUTE:.1e}"))
    made = Micro(commit=machine.commit(), measured=[each for each, _ in measured], left_out=left_out, cases=cases)
    path = folder / PLACE
    with writing(path, "make its folder writable"):
        atomic.write_file(path, _text(made).encode())
    return path


def _object(name: str) -> str:
    """Return what a number belongs to: its name without the last word."""
    return name.rpartition(" ")[0]


def _sizes(numbers: Mapping[str, float]) -> dict[str, float]:
    """Return the largest absolute number of each object: an inner product near 0 rounds like the whole tensor."""
    sizes: dict[str, float] = defaultdict(float)
    for name, value in numbers.items():
        sizes[_object(name)] = max(sizes[_object(name)], abs(value))
    return sizes


def _text(made: Micro) -> str:
    """Return the file as text, one number in a line, so that differences are readable."""
    content: dict[str, Any] = made.model_dump()
    cases = content.pop("cases")
    head = json.dumps(content, indent=1)[:-2]
    blocks = []
    for case, numbers in cases.items():
        rows = ",\n".join(f"   {json.dumps(name)}: {json.dumps(pair)}" for name, pair in numbers.items())
        blocks.append(f"  {json.dumps(case)}: {{\n{rows}\n  }}")
    return f'{head},\n "cases": {{\n' + ",\n".join(blocks) + "\n }\n}\n"


def differences(reference: Micro, now: Mapping[str, Mapping[str, float] | Exception]) -> list[str]:
    """Return a line for each case that computes something else than its reference, with the first such number.

    Args:
        reference: the references.
        now: the numbers of some of the cases, or why a case failed.
    """
    lines = []
    for case, numbers in now.items():
        if isinstance(numbers, Exception):
            lines.append(f"failed: {case}: {type(numbers).__name__}: {' '.join(str(numbers).split())[:200]}")
        elif case not in reference.cases:
            lines.append(f"missing: {case}: no reference; {AGAIN}")
        else:
            lines += _beyond(case, reference, numbers)
    return lines


def _beyond(case: str, reference: Micro, numbers: Mapping[str, float]) -> list[str]:
    known = reference.cases[case]
    fresh = [name for name in numbers if name not in known and f"{case}: {name}" not in reference.left_out]
    changed = [
        name for name, (value, tolerance) in known.items()
        if name not in numbers or not abs(numbers[name] - value) <= tolerance
    ]  # fmt: skip
    if not (changed or fresh):
        return []
    name = (changed or fresh)[0]
    total = len(changed) + len(fresh)
    more = f" (and {total - 1} more of {len(known)})" if total > 1 else ""
    found = f"{numbers[name]:.9g}" if name in numbers else "absent"
    before, tolerance = known.get(name, (None, 0.0))
    return [
        f"changed: {case}: {name} is {found}, was {'absent' if before is None else f'{before:.9g}'}; "
        f"tolerance {tolerance:.1g}{more}"
    ]
