"""LICENCES.md is current, and every dependency has a licence compatible with that of the project."""

from __future__ import annotations

import pytest

from tests.licences import COMPATIBLE, dependencies, licences, rows

AGAIN = "update it with: python -m tests.licences"


def test_the_table_lists_exactly_the_direct_dependencies() -> None:
    assert set(rows()) == set(dependencies()), AGAIN


@pytest.mark.parametrize("package", sorted(dependencies()))
def test_each_licence_is_current_and_compatible(package: str) -> None:
    """The installed version may list fewer licences than the table, but no others."""
    listed, installed = rows()[package], licences(package)
    assert listed
    assert listed <= COMPATIBLE
    if installed is None:
        pytest.skip(f"{package} is not installed")
    assert installed, f"{package} states no licence"
    assert installed <= listed, AGAIN


@pytest.mark.parametrize("stated", ["GPL-3.0-only", "GPLv3", "CC-BY-NC-4.0", "Proprietary", "UNKNOWN"])
def test_incompatible_licences_are_recognised(stated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from email.message import Message

    package = Message()
    package["License"] = stated
    monkeypatch.setattr("tests.licences.metadata", lambda name: package)
    assert licences("any") == {stated}
    assert not {stated} <= COMPATIBLE
