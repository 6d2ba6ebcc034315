"""Deprecated import paths, which model cards of earlier versions use, keep working."""

from __future__ import annotations

import importlib
import sys

import pytest

from benchmark.data import folders, samples

NAMES = {
    "benchmark.delta": ("benchmark.artifacts.delta", ("apply_delta", "load_decoder")),
    "benchmark.tuned": ("benchmark.artifacts.adapter", ("apply_tuned",)),
    "benchmark.restore": ("benchmark.artifacts.restore", ("restore",)),
    "benchmark.statistics": ("benchmark.common.statistics", ("iou", "miou")),
}


@pytest.mark.parametrize("old", NAMES)
def test_an_old_import_path_gives_the_same_objects_and_warns_with_the_new_one(old: str) -> None:
    new, names = NAMES[old]
    sys.modules.pop(old, None)
    with pytest.warns(FutureWarning, match=f"{old} .*{new}"):
        module = importlib.import_module(old)
    assert all(getattr(module, name) is getattr(importlib.import_module(new), name) for name in names)


def test_functions_that_readers_used_to_import_from_samples() -> None:
    for name in samples.MOVED:
        with pytest.warns(FutureWarning, match=rf"benchmark\.data\.samples\.{name} .*benchmark\.data\.folders\.{name}"):
            assert getattr(samples, name) is getattr(folders, name)
    with pytest.raises(AttributeError, match="no attribute 'file'"):
        samples.file  # noqa: B018
