"""The method interface: former names are refused."""

from __future__ import annotations

import pytest

from baselines.freeze import Freeze


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("estimate", "observe_batch"),
        ("estimated", "select"),
        ("estimates", "stored_values"),
        ("estimates_in_memory", "peak_values"),
    ],
)
def test_a_former_name_is_refused(old: str, new: str) -> None:
    with pytest.raises(TypeError, match=rf"\bPlugin: {old}\(\) .*\b{new}\(\)"):
        type("Plugin", (Freeze,), {old: lambda self: None})
    type("Plugin", (Freeze,), {new: lambda self: None})
