"""The table and the figure of single factors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.stats import t

from benchmark import records
from benchmark.common.errors import UserError
from benchmark.figures import factors as figures
from benchmark.figures._command import Request, run
from benchmark.figures._figure import Selection
from benchmark.records import Record, read
from benchmark.tables import factors
from tests.records.made import FIELDS, confusion, names, record

TARGETS = tuple(f"{factor}-{strength}" for factor in ("light", "texture") for strength in (1, 2, 3))


def stored(root: Path, method: str, seed: int, accuracy: float, targets: tuple[str, ...] = TARGETS) -> Record:
    matrices = confusion(accuracy, 100 * seed + len(method), targets=targets)
    fields = {**FIELDS, "targets": {name: {} for name in targets}}
    made = record(matrices, method, seed, protocol="streets@factors", protocol_fields=fields)
    return read(records.write(made, matrices, names(matrices), root))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed in range(3):
        stored(tmp_path, "freeze", seed, 0.7)
        stored(tmp_path, "lora", seed, 0.75)
    return tmp_path


def test_the_area_is_the_integral_over_the_strengths() -> None:
    found = factors.steps(["light-1", "light-3", "other", "light-2", "texture-1"])
    assert found == {"light": {0: "source", 1: "light-1", 2: "light-2", 3: "light-3"}}, "texture lacks strengths"
    run = record(confusion(0.7, 1, targets=TARGETS))
    heights = [run.scores()[name].miou for name in ("source", "light-1", "light-2", "light-3")]
    assert factors.area(run, [found["light"]]) == pytest.approx(trapezoid(heights, dx=1 / 3))


def test_cells_are_differences_to_the_reference_with_an_interval(root: Path) -> None:
    found = records.read_all(root)
    (table,) = factors.build(found)
    assert [column.head for column in table.columns] == ["Light", "Texture", "All"]
    (row,) = table.rows
    areas = {
        (run.method, run.seed): [factors.area(run, [places]) for places in factors.steps(run.targets).values()]
        for run in found
    }
    differences = 100 * np.array([np.subtract(areas["lora", seed], areas["freeze", seed]) for seed in range(3)])
    assert [each.mean for each in row.cells[:2]] == pytest.approx(differences.mean(0))
    assert row.cells[2].mean == pytest.approx(differences.mean())
    for cell, each in zip(row.cells, differences.T, strict=False):
        low, high = map(float, cell.text.partition("(")[2].rstrip(")").split(","))
        assert (low + high) / 2 == pytest.approx(cell.mean, abs=0.06)
        over_seeds = t.ppf(0.975, 2) * each.std(ddof=1) / np.sqrt(3)
        assert (high - low) / 2 > 0.9 * over_seeds, "images add to the spread over seeds"


def test_the_reference_must_have_runs(tmp_path: Path) -> None:
    stored(tmp_path, "lora", 0, 0.7)
    with pytest.raises(UserError, match="no finished run of freeze"):
        factors.build(records.read_all(tmp_path))
    stored(tmp_path / "other", "lora", 0, 0.7, ("a", "b"))
    with pytest.raises(UserError, match="no record of single factors"):
        factors.build(records.read_all(tmp_path / "other"))


def test_the_figure_has_a_panel_per_factor(root: Path, tmp_path: Path) -> None:
    run(Request("factors", False, root, tmp_path / "out", None, None, "", None))
    folder = tmp_path / "out/streets@factors/vit-tiny-streets"
    assert {path.suffix for path in folder.iterdir()} == {".pdf", ".png", ".txt"}
    assert "single factor" in (folder / "factors.txt").read_text(encoding="utf-8")
    assert "difference to Freeze" in (folder / "factors.txt").read_text(encoding="utf-8")


def test_the_figures_differences_are_over_common_seeds(root: Path) -> None:
    found = {(each.method, each.seed): each for each in records.read_all(root)}
    drawing = figures.draw(Selection(tuple(each for key, each in found.items() if key != ("lora", 0))))
    scores, differences = (drawing.figure.axes[place] for place in (0, figures.ACROSS))
    (line,) = (each for each in differences.lines if each.get_label() == "Lora")
    (first, *_) = factors.steps(TARGETS).values()
    gains = [
        [100 * (found["lora", seed].scores()[each].miou - found["freeze", seed].scores()[each].miou) for seed in (1, 2)]
        for _, each in sorted(first.items())
    ]
    assert line.get_ydata() == pytest.approx(np.mean(gains, axis=1))
    assert [each.get_label() for each in scores.lines] == ["Freeze", "Lora"]
