"""Strict YAML: parsed files are kept, and callers get copies."""

from __future__ import annotations

import pytest
import yaml

from benchmark.common import strict_yaml


def test_a_change_of_what_was_read_does_not_change_what_is_read_next() -> None:
    text = "rates: [1, 2]\nnested: {a: {b: 1}}"
    first = strict_yaml.load(text)
    first["rates"].append(3)
    del first["nested"]["a"]
    assert strict_yaml.load(text) == yaml.safe_load(text) == {"rates": [1, 2], "nested": {"a": {"b": 1}}}


def test_an_invalid_text_is_an_error_every_time() -> None:
    for _ in range(2):
        with pytest.raises(yaml.YAMLError, match="'a' is given twice, again in line 2"):
            strict_yaml.load("a: 1\na: 2")
