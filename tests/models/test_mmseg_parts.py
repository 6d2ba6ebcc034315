"""The import of mmsegmentation's parts leaves transformers out."""

from __future__ import annotations

import sys

import pytest

from benchmark.models.mmseg_parts import _absent


def test_a_package_is_absent_in_the_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with _absent("colorsys"), pytest.raises(ImportError):
        import colorsys
    import colorsys  # noqa: F401


def test_a_package_that_is_imported_already_stays() -> None:
    with _absent("pytest"):
        assert sys.modules["pytest"] is pytest
    assert sys.modules["pytest"] is pytest
