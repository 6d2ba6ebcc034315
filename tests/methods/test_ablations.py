"""Rows of Table 4 and Figure 5: each is its base with the stated settings, and nothing more."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmark.common import registry
from benchmark.method import Method
from benchmark.records import naming
from benchmark.runs import request
from benchmark.tables.main import ORDER
from tests.methods.fishertune.small_runs import Run

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "random-q": ("random", {"groups": ("q",)}),
    "random-k": ("random", {"groups": ("k",)}),
    "random-v": ("random", {"groups": ("v",)}),
    "fim": ("fishertune", {"criterion": "f"}),
    "delta-fim": ("fishertune", {"criterion": "delta-f"}),
    "fim-variational": ("fishertune", {"criterion": "f", "estimator": "variational"}),
    "delta-fim-variational": ("fishertune", {"criterion": "delta-f", "estimator": "variational"}),
    "dr-fim-variational": ("fishertune", {"estimator": "variational"}),
}
# "parts", Figure 3, has a file of its own beside this one.
ABLATIONS = sorted(set(registry.names("method")) - set(registry.main_methods()) - {"parts"})


def test_every_row_is_stated_here_and_has_its_place_in_the_table() -> None:
    assert set(ABLATIONS) == set(ROWS)
    assert set(registry.names("method")) <= set(ORDER)


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_row_is_its_base_with_other_defaults(name: str) -> None:
    base, settings = ROWS[name]
    row: type[Method] = registry.find("method", name)
    plain: type[Method] = registry.find("method", base)
    assert issubclass(row, plain)
    assert {key for key in vars(row) if not key.startswith("_")} == {"label", "arm_of", "Settings"}
    assert row.arm_of == base
    assert row().settings.model_dump() == plain.Settings(**settings).model_dump()
    assert all(row().settings.origins()[key] == "paper" for key in settings)
    assert row.label != plain.label


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_row_chooses_what_its_base_with_these_settings_chooses(name: str) -> None:
    base, settings = ROWS[name]
    row, plain = registry.find("method", name), registry.find("method", base)
    share = {"share": 0.03, **({"share_start": 0.01} if base == "fishertune" else {})}
    runs = [
        Run(cls(cls.Settings(**given)), 8).finish()
        for cls, given in ((row, share), (plain, share | settings), (plain, share))
    ]
    mine, same, other = (torch.cat([m.flatten() for m in run.selected().values()]) for run in runs)
    assert torch.equal(mine, same)
    assert not torch.equal(mine, other)
    assert int(mine.sum()) == int(other.sum())


def test_no_two_rows_are_the_same() -> None:
    known = registry.names("method")
    rows = [
        (ROWS.get(name, (name, {}))[0], registry.find("method", name)().settings.model_dump_json()) for name in known
    ]
    assert len(set(rows)) == len(known)


def test_words_for_several_methods_stand_for_methods() -> None:
    known = registry.names("method")
    for word, names in request.GROUPS.items():
        assert word not in known
        assert {naming.base(name) for name in names} <= set(known)
        assert len(set(names)) == len(names)
    assert {name for names in request.GROUPS.values() for name in names} >= set(ABLATIONS)
