"""Run the cases with a mutation in a fork of this process, which has imported the libraries already."""

from __future__ import annotations

import ast
import compileall
import gc
import importlib
import json
import os
import py_compile
import shutil
import signal
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.mutations import ROOT, Mutation

PACKAGES = ("benchmark", "methods", "baselines")
LIBRARIES = (
    "torch", "cv2", "scipy.linalg", "pydantic", "accelerate", "timm", "peft", "mmseg.models.necks", "psutil", "rich",
    "mmseg.models.decode_heads", "transformers.models.mask2former.modeling_mask2former", "safetensors.torch",
)  # fmt: skip
SECONDS = 600
EVERYTHING = ""
FISHERTUNE = ("method/fishertune", "method/delta-fim", "method/fim", "method/random", "training/")
RELATED: dict[str, tuple[str, ...]] = {
    "baselines/_": (
        "method/soma",
        "method/ssf",
        "method/recyclelora",
        "method/lora",
        "method/",
        "decoder/mask2former w",
    ),
    "methods/fishertune/": FISHERTUNE,
    "methods/ablations/": ("method/fim", "method/delta-fim", "method/random", "method/parts"),
    "benchmark/data/readers/": ("reader/",),
    "benchmark/data/": ("transform/", "reader/", "labelset/", "metric/"),
    "benchmark/evaluation/": ("mode/", "metric/"),
    "benchmark/models/": ("model/", "decoder/", "mode/", "training/", EVERYTHING),
    "benchmark/method/": ("training/", "method/full", "method/rein", "method/fishertune", EVERYTHING),
    "benchmark/training/": ("training/", "decoder/linear", "method/full", "method/fishertune", EVERYTHING),
}
"""Starts of the cases that a change below a folder can affect, in the order in which they are tried."""


def copy(folder: Path, compiled: bool = True) -> None:
    """Copy the packages; ``compiled`` so that a changed source is recompiled whatever its time of modification."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        if compiled:
            mode = py_compile.PycInvalidationMode.CHECKED_HASH
            compileall.compile_dir(folder / package, quiet=2, invalidation_mode=mode)


def load_libraries() -> None:
    """Import what the cases import, except the benchmark."""
    for name in LIBRARIES:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)


def load_copy(folder: Path) -> None:
    """Import the cases and all methods from a copy, so that a fork imports only what a mutation affects."""
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    registry = importlib.import_module("benchmark.common.registry")
    for name in ("benchmark.check.micro.cases", "benchmark.models.mmseg_parts", "benchmark.models.mask2former"):
        importlib.import_module(name)
    for kind in ("method", "dataset"):
        for name in registry.names(kind):
            registry.find(kind, name)
    for module in [module for name, module in sys.modules.items() if name.split(".")[0] in PACKAGES]:
        if module.__file__:
            _imported(Path(module.__file__))
    gc.collect()
    gc.freeze()  # so that forks share the pages of what is loaded


def forget(folder: Path, mutation: Mutation | None) -> None:
    """Forget the modules that import a mutated file, directly or not; all of them if they are not those of the copy."""
    loaded = {name: module for name, module in sys.modules.items() if name.split(".")[0] in PACKAGES}
    files = {name: Path(module.__file__) for name, module in loaded.items() if module.__file__}
    stale = set(loaded)
    if mutation and all(file.is_relative_to(folder) for file in files.values()):
        stale = {mutation.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")}
        needs = {name: _imported(file) for name, file in files.items()}
        while further := {name for name in files if name not in stale and needs[name] & stale}:
            stale |= further
    for name in stale & set(loaded):
        parent, _, own = name.rpartition(".")
        if own in vars(sys.modules.get(parent, object)):
            delattr(sys.modules[parent], own)
        del sys.modules[name]


@cache
def _imported(file: Path) -> frozenset[str]:
    """Return the modules, and what may be modules, that the import statements of a file name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
    return frozenset(found)


def tried(
    folder: Path, mutation: Mutation | None, only: Sequence[str] = (), seconds: dict[str, float] | None = None
) -> dict[str, Any]:
    """Run the cases in a copy of the packages with a mutation; stop at the first difference.

    Args:
        folder: the copy.
        mutation: applied to the copy before and undone afterwards; None for the code as it is.
        only: starts of the cases to run; by default those that a change of the file can affect.
        seconds: of each case, to run the quick ones first.

    Returns:
        ``line``: the first difference, empty if there is none; ``seconds`` by case; ``cpu``.
    """
    path = folder / mutation.file if mutation else None
    text = path.read_text(encoding="utf-8") if path else ""
    if path and mutation:
        path.write_text(mutation.applied(text), encoding="utf-8")
    try:
        return _forked(folder, mutation, tuple(only), seconds or {})
    finally:
        if path:
            path.write_text(text, encoding="utf-8")


def _forked(
    folder: Path, mutation: Mutation | None, only: tuple[str, ...], seconds: dict[str, float]
) -> dict[str, Any]:
    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        os.close(receiving)
        signal.alarm(SECONDS)
        try:
            found = _compared(folder, mutation, only, seconds)
        except BaseException as error:
            found = {"line": f"failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}", "seconds": {}}
        with os.fdopen(sending, "w") as pipe:
            json.dump(found, pipe)
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving) as pipe:
        answer = pipe.read()
    _, status, usage = os.wait4(child, 0)
    if not answer and os.waitstatus_to_exitcode(status) != -signal.SIGALRM:
        raise RuntimeError(f"{mutation}: its process ended with status {status}")
    found = json.loads(answer) if answer else {"line": f"failed: not finished within {SECONDS} s", "seconds": {}}
    return {**found, "cpu": usage.ru_utime + usage.ru_stime}


def _compared(
    folder: Path, mutation: Mutation | None, only: tuple[str, ...], seconds: dict[str, float]
) -> dict[str, Any]:
    sys.dont_write_bytecode = True
    forget(folder, mutation)
    sys.path.insert(0, str(folder))
    os.chdir(folder)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  closed with the process
    from benchmark.check.micro import cases, reference

    assert Path(cases.__file__).is_relative_to(folder)
    known, chosen = reference.read(ROOT / "results"), cases.cases()
    starts = tuple(only) or (_related(mutation) if mutation else (EVERYTHING,))
    places = {
        name: place for name in chosen for place, start in reversed([*enumerate(starts)]) if name.startswith(start)
    }
    took: dict[str, float] = {}
    values: dict[str, Any] = {}
    for name in sorted(places, key=lambda name: (places[name], seconds.get(name, 0.0))):
        ((_, numbers, took[name]),) = cases.computed({name: chosen[name]})
        if mutation is None and not isinstance(numbers, Exception):
            values[name] = numbers
        if lines := reference.differences(known, {name: numbers}):
            return {"line": lines[0], "seconds": took}
    absent = [name for name in known.cases if name not in chosen] if EVERYTHING in starts else []
    return {"line": f"missing: {absent[0]}" if absent else "", "seconds": took, "values": values}


def _related(mutation: Mutation) -> tuple[str, ...]:
    name = f"method/{Path(mutation.file).stem.replace('_', '-')}"
    if mutation.file.startswith("baselines/") and "/_" not in mutation.file:
        further = {"method/full": ("method/l2-sp", "method/lp-ft", "method/wise-ft"), "method/lora": ("method/dora",)}
        return (name, *further.get(name, ()), "decoder/mask2former w", "training/")
    starts = next((starts for place, starts in RELATED.items() if mutation.file.startswith(place)), (EVERYTHING,))
    return (name, *starts) if mutation.file.startswith("methods/ablations/") else starts
