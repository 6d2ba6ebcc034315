"""The table of rank agreement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from benchmark import records
from benchmark.common.errors import UserError
from benchmark.tables import agreement
from benchmark.tables import published as papers
from tests.records.made import stored

METHODS = ("freeze", "full", "lora", "rein", "vqt", "childtune-d")
PRINTED = METHODS[1:]  # Table 1 has no frozen DINOv2


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for place, method in enumerate(METHODS):
        for seed in range(2):
            stored(tmp_path, method, seed, 0.5 + 0.05 * place)
            stored(tmp_path, method, seed, 0.8 - 0.05 * place, protocol="camvid")
            stored(tmp_path, method, seed, 0.5, protocol="streets@quick")
    return tmp_path


def test_orders_are_compared_with_each_other_and_with_the_paper(root: Path) -> None:
    table = agreement.build(records.read_all(root))
    rows = {row.label: row.cells for row in table.rows}
    streets, camvid = "streets (vit-tiny-streets)", "camvid (vit-tiny-streets)"
    assert set(rows) == {
        f"{camvid} – {streets}",
        *(f"{one} – published ({two})" for one in (camvid, streets) for two in ("dinov2-l", "mean of its models")),
    }
    assert rows[f"{camvid} – {streets}"][0].mean == -1
    assert rows[f"{camvid} – {streets}"][2].mean == len(METHODS)
    printed = [papers.find("gtav-to-cbm", "dinov2-l", method, "average") for method in PRINTED]
    expected = np.corrcoef(range(5), rankdata([figure.value for figure in printed if figure]))[0, 1]
    assert rows[f"{streets} – published (dinov2-l)"][0].mean == pytest.approx(expected)


def test_means_are_over_the_seeds_that_all_methods_have() -> None:
    scores = {"full": {0: 0.4, 1: 0.1}, "lora": {0: 0.3}, "rein": {0: 0.5, 2: 0.0}}
    assert agreement.means(scores, ["full", "lora"]) == [0.4, 0.3]
    assert agreement.means(scores, ["full", "rein"]) == [0.4, 0.5]
    assert agreement.means(scores, ["full"]) == [0.25]
    assert agreement.means({"full": {0: 0.4}, "lora": {1: 0.3}}, ["full", "lora"]) == []


def test_too_few_methods_in_common_are_refused(tmp_path: Path) -> None:
    for method in METHODS[:3]:
        stored(tmp_path, method, 0)
    with pytest.raises(UserError, match="the same 4 methods and seeds"):
        agreement.build(records.read_all(tmp_path))


def test_the_interval_covers_at_its_level() -> None:
    rng, rho, count = np.random.default_rng(0), 0.6, 15
    # Spearman's correlation of a bivariate normal distribution with Pearson's correlation r is 6/π arcsin(r/2).
    pearson = 2 * np.sin(np.pi * rho / 6)
    hits = 0
    for _ in range(1000):
        x, y = rng.multivariate_normal([0, 0], [[1, pearson], [pearson, 1]], count).T
        low, high = agreement.interval(agreement.spearman(x, y), count)
        hits += low <= rho <= high
    assert 0.92 < hits / 1000 < 0.98
