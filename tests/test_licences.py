"""LICENCES.md tells the truth, and nothing the project needs forbids what its own licence allows."""

from __future__ import annotations

import pytest

from tests.licences import COMPATIBLE, dependencies, licences, rows

AGAIN = "write it again with: python -m tests.licences"


def test_every_direct_dependency_has_a_row_and_nothing_else() -> None:
    assert set(rows()) == set(dependencies()), AGAIN


@pytest.mark.parametrize("package", sorted(dependencies()))
def test_a_licence_is_as_the_package_states_it_and_compatible(package: str) -> None:
    """A newer version may state parts of its licence that an older one left out."""
    listed, installed = rows()[package], licences(package)
    assert listed
    assert listed <= COMPATIBLE
    if installed is None:
        pytest.skip(f"{package} is not installed")
    assert installed, f"{package} states no licence"
    assert installed <= listed, AGAIN


@pytest.mark.parametrize("stated", ["GPL-3.0-only", "GPLv3", "CC-BY-NC-4.0", "Proprietary", "UNKNOWN"])
def test_other_licences_are_not_taken_for_compatible_ones(stated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from email.message import Message

    package = Message()
    package["License"] = stated
    monkeypatch.setattr("tests.licences.metadata", lambda name: package)
    assert licences("any") == {stated}
    assert not {stated} <= COMPATIBLE
