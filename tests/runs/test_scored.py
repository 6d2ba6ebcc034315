"""A protocol that evaluates the finished runs of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmark import protocol, tables
from benchmark.common.errors import UserError
from benchmark.records import Record, confusions, read
from benchmark.runs.execute import execute
from benchmark.runs.job import Job
from benchmark.runs.request import plan
from tests.conftest import TINY

ALTERED: dict[str, Any] = {
    "trained": "tiny",
    "targets": {
        "dusk": None,
        "dark": {"dataset": "camvid", "split": "test:0001TP", "alter": {"name": "dark", "strength": 2}},
    },
    "evaluation": {"times": 1},
}


def jobs(folder: Path, data: Path, variant: str, changes: dict[str, Any] | None = None) -> list[Job]:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, "variants": {"altered": ALTERED | (changes or {})}}), encoding="utf-8")
    fixed = protocol.load(f"{path}{variant}")
    return plan(fixed, fixed.backbone, ["lora", "freeze"], [0], {}, data_root=data, folder=folder / "runs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    place = tmp_path_factory.mktemp("scored")
    for job in jobs(place, tiny_data, ""):
        execute(job)
    return place


def scored(folder: Path, data: Path) -> list[Record]:
    return [execute(job) for job in jobs(folder, data, "@altered")]


def test_the_same_model_is_scored_on_other_images(folder: Path, tiny_data: Path) -> None:
    for record in scored(folder, tiny_data):
        trained = read(folder / f"runs/tiny/vit-tiny-random/{record.method}/seed0.json")
        known, again = confusions(trained)[0], confusions(read(folder / "runs" / f"{record.name}.json"))[0]
        assert set(again) == {"source", "elsewhere", "dark"}
        assert all((again[name] == known[name]).all() for name in ("source", "elsewhere"))
        assert (again["dark"] != known["dusk"]).any()
        assert np.array_equal(again["dark"].sum(2), known["dusk"].sum(2)), "the labels are the same"
        assert record.trained == trained.checksum
        assert record.losses == trained.losses
        assert record.decoder is None
        (table,) = tables.build([record])
        assert table.rows[0].label == trained.label


def test_runs_must_be_finished_and_trained_under_the_same_conditions(folder: Path, tiny_data: Path) -> None:
    (job, *_) = jobs(folder, tiny_data, "@altered", {"iterations": 13})
    with pytest.raises(UserError, match="trained with another iterations than protocol tiny@altered states"):
        execute(job)
    (job, *_) = jobs(folder, tiny_data, "@altered", {"trained": "elsewhere"})
    with pytest.raises(UserError, match="evaluates finished runs of elsewhere: run that first"):
        execute(job)
