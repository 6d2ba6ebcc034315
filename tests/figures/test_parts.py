"""Figure 3: each cell is the part's mIoU minus that of the frozen backbone; other variants are not shown."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.figures._figure import NothingToDrawError
from benchmark.figures.parts import PAIRS
from benchmark.records import Record
from methods.ablations import parts
from tests.figures.test_figures import average, draw, made, shown


def part(pair: str, third: int, seed: int, accuracy: float, more: str = "") -> Record:
    settings = {"pair": pair, "third": third, "lr": 1e-3}
    return made(f"parts[{more}pair={pair},third={third}]", seed, accuracy, settings=settings)


def test_a_cell_is_the_mean_of_its_runs_minus_the_frozen_backbones() -> None:
    frozen = [made("freeze", seed, 0.7) for seed in range(2)]
    first = [part("q+k", 1, seed, 0.6) for seed in range(2)]
    last = [part("v+ffn", 3, 0, 0.9)]
    odd = part("q+v", 2, 0, 0.9, more="lr=0.5,")
    drawn = draw("parts", [*frozen, *first, *last, odd])
    (axes, _) = drawn.figure.axes
    values = shown(axes)
    assert values.shape == (6, 3)
    assert values[0, 0] == pytest.approx(average(first) - average(frozen))
    assert values[5, 2] == pytest.approx(average(last) - average(frozen))
    assert np.isnan(values).sum() == 16
    assert sorted(text.get_text() for text in axes.texts) == sorted(
        f"{values[at]:+.1f}".replace("-", "\N{MINUS SIGN}") for at in ((0, 0), (5, 2))
    )
    assert odd.method in " ".join(drawn.left_out)
    assert sum("no finished run" in each for each in drawn.left_out) == 16
    assert f"{average(frozen):.1f} %" in drawn.caption


def test_a_run_of_the_frozen_backbone_is_required() -> None:
    with pytest.raises(NothingToDrawError, match="--methods freeze"):
        draw("parts", [part("q+k", 1, 0, 0.6)])


def test_rows_and_columns_are_the_methods_grid() -> None:
    assert PAIRS == parts.PAIRS
    assert parts.METHOD.grid["third"] == (1, 2, 3)
