"""Estimates in a temporary file: exact sums, no file left behind, and fallbacks without disk space."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmark.method import UserError
from methods.fishertune.computed import Computed
from methods.fishertune.spool import Spool

WEIGHTS = {"a": torch.empty(3, 5), "b": torch.empty(7, 1001), "c": torch.empty(2, 2, dtype=torch.float64)}


def filled(spool: Spool, times: int = 3) -> dict[str, Tensor]:
    """Add random matrices to ``spool`` and return the sums computed with plain tensors."""
    generator = torch.Generator().manual_seed(0)
    sums = {name: torch.zeros_like(weight) for name, weight in WEIGHTS.items()}
    for _ in range(times):
        for name, weight in WEIGHTS.items():
            values = torch.rand(weight.shape, generator=generator, dtype=weight.dtype)
            sums[name] += values
            spool.add(name, values)
    return sums


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def same(spool: Spool, sums: dict[str, Tensor]) -> bool:
    return all(torch.equal(spool[name], total) and spool[name].dtype == total.dtype for name, total in sums.items())


def test_a_file_stores_exact_sums_and_is_unlinked(folder: Path) -> None:
    spool = Spool(WEIGHTS)
    assert not any(spool[name].any() for name in WEIGHTS), "zeros before anything is added"
    sums = filled(spool)
    assert same(spool, sums)
    assert spool.in_file
    if sys.platform != "win32":
        assert not list(folder.iterdir())
    with pytest.raises(ValueError, match=r"^a .*\(3, 5\), not \(2, 3, 5\)"):
        spool.add("a", torch.ones(2, 3, 5))
    before = spool["a"]
    before += 1  # a copy of the reader
    assert same(spool, sums)


def test_sums_are_in_memory_if_no_file_can_be_created(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    spool = Spool(WEIGHTS)
    assert same(spool, filled(spool))
    assert not spool.in_file


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of files and room taken at once: Linux")
def test_sums_are_in_memory_if_there_is_too_little_disk_space(folder: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        spool = Spool(WEIGHTS)
        assert same(spool, filled(spool))
        assert not spool.in_file
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no files")
def test_a_write_error_names_the_folder(folder: Path) -> None:
    import resource

    spool = Spool(WEIGHTS)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(UserError, match=rf"{folder}: .*estimates \(.+TMPDIR"):
            spool.add("b", torch.ones(7, 1001))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_computed_tensors_are_computed_on_access() -> None:
    asked: list[str] = []

    def compute(name: str) -> Tensor:
        asked.append(name)
        return torch.full((2, len(name)), float(len(name)))

    values = Computed(["x", "yyy"], compute)
    assert (list(values), len(values), asked) == (["x", "yyy"], 2, [])
    assert [value.shape[1] for value in values.values()] == [1, 3]
    assert asked == ["x", "yyy"]
    with pytest.raises(KeyError):
        values["z"]
