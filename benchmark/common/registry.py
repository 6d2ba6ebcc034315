"""Registry of methods, datasets, figures and label sets: by file name here, by entry point in other packages.

A file with several methods lists them in a dict ``METHODS = {"name": class, ...}`` instead of one ``METHOD``.

Ablations are methods like any other, but the main comparison leaves them out.

Names are found without importing the modules, so listing them and reporting a misspelt one is fast.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from benchmark.common.errors import UserError, nearest

ABLATIONS = "methods.ablations"
PLACES = {
    "method": (("methods", "METHOD"), ("baselines", "METHOD"), (ABLATIONS, "METHOD")),
    "dataset": (("benchmark.data.readers", "READER"),),
    "figure": (("benchmark.figures", "FIGURE"),),
    "labelset": (),  # this project's own are YAML files, see benchmark.labelsets
}
ROOT = Path(__file__).resolve().parents[2]


def names(kind: str) -> dict[str, str]:
    """Return every known name of ``kind`` (method, dataset, figure, labelset) and its location, ``module:ATTRIBUTE``.

    Raises:
        UserError: two locations define one name.
    """
    return dict(_scan(kind, ROOT, tuple(sys.path)))


@cache
def _scan(kind: str, root: Path, path: tuple[str, ...]) -> dict[str, str]:
    """Scan the packages in ``root`` and the entry points on ``path``; once per process."""
    found: dict[str, str] = {}
    for package, attribute in PLACES[kind]:
        for file in sorted(root.joinpath(*package.split(".")).iterdir()):
            if f"{package}.{file.stem}" == ABLATIONS:
                continue
            is_module = file.suffix == ".py" or (file / "__init__.py").is_file()
            if is_module and not file.name.startswith("_"):
                several = _table(file, f"{attribute}S")
                for name in several or [file.stem.replace("_", "-")]:
                    _add(found, kind, name, f"{package}.{file.stem}:{attribute}{'S' if several else ''}")
    for point in entry_points(group=f"dgss_benchmark.{kind}s"):
        _add(found, kind, point.name, point.value)
    return found


def main_methods() -> list[str]:
    """Return the methods of the main comparison: all except the ablations."""
    return [name for name, place in names("method").items() if not is_ablation(place)]


def is_ablation(place: str) -> bool:
    """Return whether a method is an ablation, given its location from :func:`names`."""
    return place.startswith(f"{ABLATIONS}.")


def require(kind: str, name: str) -> str:
    """Return the location of ``name`` without importing it.

    Raises:
        UserError: unknown name; the message suggests the nearest.
    """
    places = names(kind)
    if name not in places:
        raise UserError(f"unknown {kind} {name!r}: {nearest(name, places)}")
    return places[name]


def find(kind: str, name: str) -> Any:
    """Import and return the object registered as ``name``.

    Raises:
        UserError: unknown name; the message suggests the nearest.
    """
    module, _, attribute = require(kind, name).partition(":")
    found = getattr(import_module(module), attribute)
    return found[name] if isinstance(found, Mapping) else found


def _table(path: Path, variable: str) -> list[str]:
    """Return the keys of a module's ``METHODS = {"name": ..., ...}``, if any, without importing it."""
    source = (path / "__init__.py" if path.is_dir() else path).read_text(encoding="utf-8")
    for node in ast.parse(source).body if f"\n{variable} = {{" in source else []:
        match node:
            case ast.Assign([ast.Name(id)], ast.Dict(keys)) if id == variable:
                return [ast.literal_eval(key) for key in keys if key]
    return []


def _add(found: dict[str, str], kind: str, name: str, place: str) -> None:
    if name in found:
        raise UserError(f"{kind} {name!r} is defined twice: {found[name]} and {place}; rename one of them")
    found[name] = place
