"""Registry of methods, datasets and figures: by file name in this project, by entry point in other packages.

Ablations are methods like any other, but the main comparison leaves them out.

Names are found without importing the modules, so listing them and reporting a misspelt one is fast.
"""

from __future__ import annotations

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
}
ROOT = Path(__file__).resolve().parents[2]


def names(kind: str) -> dict[str, str]:
    """Return every name of ``kind`` (method, dataset, figure) with its location, ``module:ATTRIBUTE``.

    Raises:
        UserError: a name is defined twice.
    """
    found: dict[str, str] = {}
    for package, attribute in PLACES[kind]:
        for path in sorted(ROOT.joinpath(*package.split(".")).iterdir()):
            if f"{package}.{path.stem}" == ABLATIONS:
                continue
            is_module = path.suffix == ".py" or (path / "__init__.py").is_file()
            if is_module and not path.name.startswith("_"):
                _add(found, kind, path.stem.replace("_", "-"), f"{package}.{path.stem}:{attribute}")
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
    return getattr(import_module(module), attribute)


def _add(found: dict[str, str], kind: str, name: str, place: str) -> None:
    if name in found:
        raise UserError(f"{kind} {name!r} is defined twice: {found[name]} and {place}; rename one of them")
    found[name] = place
