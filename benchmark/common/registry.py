"""How methods, datasets and backbones are found: by file name here, by entry point elsewhere.

A folder of ablations holds methods like any other; they stand apart only where all methods are meant at once.

A name is known without importing anything, so that listing and spelling mistakes cost no time.
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
    """Return every known name of ``kind`` (method, dataset, figure) with where it is: ``module:ATTRIBUTE``.

    Raises:
        UserError: two places claim one name.
    """
    found: dict[str, str] = {}
    for package, attribute in PLACES[kind]:
        for path in sorted(ROOT.joinpath(*package.split(".")).iterdir()):
            if f"{package}.{path.stem}" == ABLATIONS:
                continue
            is_module = path.suffix == ".py" or (path / "__init__.py").is_file()
            if is_module and not path.name.startswith("_"):
                _claim(found, kind, path.stem.replace("_", "-"), f"{package}.{path.stem}:{attribute}")
    for point in entry_points(group=f"dgss_benchmark.{kind}s"):
        _claim(found, kind, point.name, point.value)
    return found


def main_methods() -> list[str]:
    """Return the methods of the main comparison: every one that is no ablation."""
    return [name for name, place in names("method").items() if not is_ablation(place)]


def is_ablation(place: str) -> bool:
    """Return whether a method's place, as :func:`names` has it, is among the ablations."""
    return place.startswith(f"{ABLATIONS}.")


def require(kind: str, name: str) -> str:
    """Return where what ``name`` stands for is, without importing it.

    Raises:
        UserError: no such name; the message suggests the nearest.
    """
    places = names(kind)
    if name not in places:
        raise UserError(f"unknown {kind} {name!r}: {nearest(name, places)}")
    return places[name]


def find(kind: str, name: str) -> Any:
    """Import and return what ``name`` stands for.

    Raises:
        UserError: no such name; the message suggests the nearest.
    """
    module, _, attribute = require(kind, name).partition(":")
    return getattr(import_module(module), attribute)


def _claim(found: dict[str, str], kind: str, name: str, place: str) -> None:
    if name in found:
        raise UserError(f"{kind} {name!r} is defined twice: {found[name]} and {place}; rename one of them")
    found[name] = place
