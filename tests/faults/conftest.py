"""Fixtures: a server that starts commands quickly, and the arguments of a tiny sweep."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.warm import Warm, shared

Sweep = Callable[..., list["str | Path"]]


@pytest.fixture(scope="session")
def warm() -> Warm:
    """Starts commands quickly."""
    return shared()


@pytest.fixture
def sweep(tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]) -> Sweep:
    """Return a function that returns the arguments of a sweep with the tiny protocol, into ``tmp_path / records``."""
    path = tiny_protocol()

    def arguments(records: str = "runs", methods: str = "freeze,full", *more: str) -> list[str | Path]:
        given: list[str | Path] = [
            "--protocol",
            path,
            "--data-root",
            tiny_data,
            "--records",
            tmp_path / records,
            "--methods",
            methods,
        ]
        return ["run", *given, *(() if "--workers" in more else ("--workers", "1")), *more]

    return arguments


def finished_by(output: Path) -> list[str]:
    """Return the method and seed of the runs that a sweep itself finished, according to its output."""
    line = r"^\[\d+/\d+\] tiny vit-tiny-random (\S+ seed \d+) finished: mIoU \d+\.\d$"
    return re.findall(line, output.read_text(), re.MULTILINE)


def files(folder: Path) -> set[str]:
    """Return the names of all files below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
