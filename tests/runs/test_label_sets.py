"""Runs in label sets of all kinds: a two-class set by path, merged sources, and targets scored in their own sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmark import labelsets, tables
from benchmark.artifacts.predictions import examples
from benchmark.common.statistics import iou
from benchmark.data.domains import Domain
from benchmark.protocol import load
from benchmark.records import Record, confusions, read
from benchmark.report import grids
from benchmark.runs.one_run import train_and_record
from benchmark.sharing.rescore import rescore
from benchmark.tables import paper
from tests.conftest import TINY, draw
from tests.data.trees import TREES
from tests.training.test_trainer import job_of

pytestmark = pytest.mark.slow

DRIVE: dict[str, Any] = {
    "classes": [{"name": "drivable", "color": [128, 64, 128]}, {"name": "the rest", "color": [0, 0, 255]}],
    "merges": {
        "camvid": {"drivable": ["Road"], "the rest": ["Sky", "Building", "Pavement", "Tree", "Car", "Fence"]},
        "cityscapes": {"drivable": ["road"], "the rest": ["sky", "building", "sidewalk", "vegetation", "car"]},
    },
}
FACADES: dict[str, Any] = {
    "classes": [{"name": name, "color": [50 * place, 0, 0]} for place, name in enumerate(("wall", "ground", "water"))],
    "merges": {"cityscapes": {"wall": ["building", "wall"], "ground": ["road", "sidewalk", "terrain"]}},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for split, sequence, count in (("train", "0016E5", 5), ("val", "0016E5", 2), ("test", "0001TP", 2)):
        draw(root / "camvid", split, sequence, count, count)
    for name in ("bdd100k", "idd-lite", "labelmefacade"):
        TREES[name](root / name)
    return root


def trained(folder: Path, data: Path, method: str = "bitfit", **changes: Any) -> Record:
    (folder / "drive.yaml").write_text(yaml.safe_dump(DRIVE), encoding="utf-8")
    (folder / "facades.yaml").write_text(yaml.safe_dump(FACADES), encoding="utf-8")
    path = folder / "small.yaml"
    shorter = {"iterations": 2, "decoder": TINY["decoder"] | {"warmup": 1}, "evaluation": {"times": 1}}
    path.write_text(yaml.safe_dump(TINY | shorter | changes, sort_keys=False), encoding="utf-8")
    job = job_of(path, data, folder / "runs", method)
    train_and_record(job)
    return read(job.record)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Record:
    """A run trained on 19 classes whose targets are scored in four other sets."""
    return trained(tmp_path_factory.mktemp("scored"), data, **EACH_IN_ITS_OWN)


BDD = {"dataset": "bdd100k", "split": "val"}
EACH_IN_ITS_OWN: dict[str, Any] = {
    "classes": "cityscapes", "source": BDD, "validation": BDD,
    "targets": {
        "dusk": {"dataset": "camvid", "split": "test:0001TP", "scored_in": "camvid"},
        "india": {"dataset": "idd-lite", "split": "val", "scored_in": "idd-lite"},
        "facades": {"dataset": "labelmefacade", "split": "test", "scored_in": "labelmefacade"},
        "seen": BDD,
        "walls": {**BDD, "scored_in": "facades.yaml"},
    },
}  # fmt: skip


def test_a_two_class_set_by_path_is_trained_on_and_scored(tmp_path: Path, data: Path) -> None:
    record = trained(tmp_path, data, classes="drive.yaml", targets={**TINY["targets"], "usa": BDD} | {"elsewhere": BDD})
    assert record.state == "finished"
    assert record.classes == ("drivable", "the rest")
    assert record.scored_in == {}
    for name, matrices in confusions(record)[0].items():
        assert matrices.shape[1:] == (2, 2), name
    # Labels of CamVid and of BDD100K were merged, and classes without a counterpart ignored.
    fixed = load(str(tmp_path / "small.yaml"))
    for name in ("dusk", "usa"):
        split = fixed.targets[name]
        plain, merged = Domain.find(split, data), Domain.find(split, data, fixed)
        parts = DRIVE["merges"]["camvid" if name == "dusk" else "cityscapes"].values()
        ids = [plain.classes.index(part) for each in parts for part in each]
        pixels = sum(np.isin(plain.reader.read(sample)[1], ids).sum() for sample in plain.samples)
        assert pixels == sum((merged.reader.read(sample)[1] < 255).sum() for sample in merged.samples)
        assert pixels == confusions(record)[0][name].sum()
    assert all(row.equal for row in rescore(record, data))


@pytest.mark.parametrize("classes", ["camvid", "idd-lite"])
def test_a_source_with_19_classes_trains_on_merged_labels(classes: str, tmp_path: Path, data: Path) -> None:
    own = {"camvid": ("camvid", "test:0001TP"), "idd-lite": ("idd-lite", "val")}[classes]
    targets = {"own": {"dataset": own[0], "split": own[1]}, "merged": BDD}
    record = trained(tmp_path, data, classes=classes, source=BDD, validation=BDD, targets=targets)
    assert record.classes == labelsets.find(classes).names
    assert record.scored_in == {}
    assert {matrices.shape[1] for matrices in confusions(record)[0].values()} == {len(record.classes)}


def test_confusions_are_in_the_targets_classes_with_a_column_for_no_counterpart(scored: Record) -> None:
    matrices, _ = confusions(scored)
    assert {name: each.shape[1:] for name, each in matrices.items()} == {
        "source": (19, 19), "dusk": (11, 12), "india": (7, 8), "facades": (6, 7), "seen": (19, 19), "walls": (3, 4),
    }  # fmt: skip
    assert set(scored.scored_in) == {"dusk", "india", "facades", "walls"}
    assert scored.scored_in["walls"].excluded == ("water",)
    assert "sky" in scored.scored_in["walls"].wrong
    assert scored.targets["walls"].iou[2] is None
    assert set(scored.class_iou("facades")) == {"Building", "Car", "Pavement", "Road", "Sky", "vegetation"}
    assert scored.class_iou("facades")["Sky"] == scored.targets["facades"].iou[4]


def test_a_merged_target_is_the_merge_of_its_unmerged_confusions(scored: Record) -> None:
    """Merging after the argmax adds columns; labels without a counterpart are not scored."""
    matrices, _ = confusions(scored)
    merge = labelsets.merge(labelsets.find("cityscapes"), labelsets.LabelSet.model_validate({"name": "f", **FACADES}))
    assert merge is not None
    expected = np.zeros_like(matrices["walls"])
    for truth, row in enumerate(merge.index):
        for guess, column in enumerate(merge.index):
            if row < 3:
                expected[:, row, column] += matrices["seen"][:, truth, guess]
    np.testing.assert_array_equal(matrices["walls"], expected)
    total = expected.sum(0)
    for name, place in (("wall", 0), ("ground", 1)):
        union = total[place].sum() + total[:, place].sum() - total[place, place]
        assert scored.class_iou("walls")[name] == pytest.approx(total[place, place] / union)
    assert np.isnan(iou(total)[2])


def test_tables_report_and_rescoring_follow(scored: Record, data: Path) -> None:
    assert all(row.equal for row in rescore(scored, data))
    (table,) = tables.build([scored])
    (note,) = (note for note in table.notes if note.startswith("Scored in other classes"))
    assert "Dusk in the 11 of CamVid" in note
    assert "Walls in the 3 of Facades without water" in note
    found = grids.build([scored], data)
    assert not any("differ" in remark or "not found" in remark for remark in found.remarks)
    names = [name for name, _ in found.legend]
    assert {"SignSymbol", "drivable", "pavement", "traffic sign", "water"} <= set(names)
    assert examples(scored)["walls"][0].max() <= 3


def test_adding_probabilities_is_another_protocol_with_other_predictions(
    scored: Record, tmp_path: Path, data: Path
) -> None:
    record = trained(tmp_path, data, **EACH_IN_ITS_OWN, evaluation={"times": 1, "merge_by": "probability"})
    assert record.fingerprint != scored.fingerprint
    ours, theirs = confusions(record)[0], confusions(scored)[0]
    np.testing.assert_array_equal(ours["seen"], theirs["seen"])
    assert any((ours[name] != theirs[name]).any() for name in scored.scored_in)
    assert all(row.equal for row in rescore(record, data))


def test_a_per_class_table_has_the_classes_of_all_targets(scored: Record) -> None:
    names = scored.target_classes()
    assert names[:11] == labelsets.find("camvid").names
    assert {"Sky", "vegetation", "drivable"} <= set(names)  # CamVid's spelling of what others write in lower case
    assert len({name.casefold() for name in names}) == len(names)
    assert paper.NUMBERS
