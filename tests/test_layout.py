"""The layout that docs and newcomers rely on: folders only, and imports that point one way between them."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import benchmark

ROOT = Path(benchmark.__file__).parents[1]
PACKAGES = ("benchmark", "methods", "baselines")
LOWER = {
    "benchmark.common",
    "benchmark.labelsets",
    "benchmark.protocol",
    "benchmark.data",
    "benchmark.models",
    "benchmark.records",
}
"""Folders that know nothing of methods."""


def folder_of(module: str) -> str:
    first, *rest = module.split(".")
    return ".".join([first, *rest[:1]]) if first == "benchmark" else first


def imports() -> dict[str, set[str]]:
    """Return which folders each folder imports, read from every import statement, also inside functions."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    found: dict[str, set[str]] = {}
    for module, path in modules.items():
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {f"{node.module}.{each.name}" for each in node.names}
            elif isinstance(node, ast.Import):
                names |= {each.name for each in node.names}
        ours = {folder_of(name) for name in names if name.split(".")[0] in PACKAGES}
        # ``from benchmark import __version__`` names no folder.
        ours = {name for name in ours if name in PACKAGES[1:] or (ROOT / name.replace(".", "/")).is_dir()}
        found.setdefault(folder_of(module), set()).update(ours - {folder_of(module), "benchmark"})
    return found


def test_the_package_holds_folders_only() -> None:
    loose = {path.name for path in (ROOT / "benchmark").iterdir() if path.is_file()}
    assert loose == {"__init__.py", "__main__.py"}


def test_imports_between_folders_have_no_circle() -> None:
    graph = imports()
    order = list(TopologicalSorter(graph).static_order())  # CycleError names the folders of a circle
    assert order.index("benchmark.common") < order.index("benchmark.runs") < order.index("benchmark.cli")
    assert len(graph["benchmark.runs"]) > 5  # imports were found at all


def test_data_and_models_know_no_method_and_methods_know_only_the_interface() -> None:
    graph = imports()
    for folder in LOWER:
        assert graph[folder] <= LOWER, folder
    for folder in ("methods", "baselines"):
        assert graph[folder] <= {"benchmark.method", "benchmark.models", "baselines"}, folder
