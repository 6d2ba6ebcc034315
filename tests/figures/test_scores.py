"""The figure of scores: sorted rows, every seed, differences with the interval of the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

from benchmark.common.statistics import paired_interval
from benchmark.figures import _style
from benchmark.figures._figure import Drawing, Selection
from benchmark.figures.scores import FIGURE
from benchmark.records import Record
from benchmark.tables.resamples import Resamples
from tests.figures.test_figures import errorbars
from tests.records.made import TARGETS, stored

ACCURACY = {"freeze": 0.6, "vpt": 0.55, "lora": 0.7, "fishertune": 0.65}


@pytest.fixture
def found(tmp_path: Path) -> list[Record]:
    return [
        stored(tmp_path, method, seed, accuracy + 0.01 * seed)
        for method, accuracy in ACCURACY.items()
        for seed in range(1 if method == "vpt" else 3)
    ]


def draw(records: list[Record], **options: Any) -> Drawing:
    with matplotlib.rc_context(_style.RC):
        return FIGURE.draw(Selection(tuple(records), **options))


def of(records: list[Record], method: str) -> list[Record]:
    return [record for record in records if record.method == method]


def scores(records: list[Record], method: str) -> list[float]:
    return [100 * (record.average or 0.0) for record in of(records, method)]


def test_rows_are_sorted_and_show_every_seed(found: list[Record]) -> None:
    left, _ = draw(found).figure.axes
    ordered = sorted(ACCURACY, key=lambda method: np.mean(scores(found, method)))
    assert [label.get_text() for label in left.get_yticklabels()] == [of(found, name)[0].label for name in ordered]
    assert [x for x, *_ in errorbars(left)] == pytest.approx([np.mean(scores(found, name)) for name in ordered])
    strokes = [line.get_xdata() for line in left.lines if line.get_marker() == "|"]
    strokes = [each for each in strokes if len(np.asarray(each))]
    for name, each in zip(ordered, strokes, strict=True):
        assert list(np.asarray(each)) == pytest.approx(scores(found, name))


def test_differences_have_the_interval_of_the_tables(found: list[Record]) -> None:
    _, right = draw(found, reference="freeze").figure.axes
    drawn = {y: (x, bar) for x, y, bar, _ in errorbars(right)}
    ordered = sorted(ACCURACY, key=lambda method: np.mean(scores(found, method)))
    assert len(drawn) == 3
    resamples = Resamples()
    both = [
        (np.array(scores(found, name)), np.stack([100 * resamples.of(run, TARGETS) for run in of(found, name)]))
        for name in ("fishertune", "freeze")
    ]
    low, high = paired_interval(*both[0], *both[1])
    x, bar = drawn[ordered.index("fishertune")]
    assert x == pytest.approx(np.mean(both[0][0] - both[1][0]))
    assert bar == pytest.approx([low, high])
    x, bar = drawn[ordered.index("vpt")]  # one common seed
    assert x == pytest.approx(scores(found, "vpt")[0] - scores(found, "freeze")[0])
    assert not bar


def test_families_differ_in_shape_and_colour(found: list[Record]) -> None:
    marks = _style.families([*ACCURACY, "lora[rank=4]", "of-another-package"])
    assert marks["lora[rank=4]"] == marks["lora"]
    assert marks["of-another-package"].family == "other"
    assert len({(mark.colour, mark.marker) for mark in marks.values()}) == 5
    assert len({mark.marker for mark in marks.values()}) == 5, "readable without colour"
    legend = draw(found).figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["FisherTune", "adapter", "prompts", "reference"]
