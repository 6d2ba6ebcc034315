"""Label sets as data: their files, merges into others, and conversion of labels."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmark import labelsets, protocol
from benchmark.common.errors import UserError
from benchmark.data.domains import Domain
from benchmark.labelsets import LabelSet, merge
from benchmark.protocol import Protocol, Split

from .trees import TREES

SETS = ("camvid", "cityscapes", "idd-lite", "labelmefacade")
PINNED = "be3e0bd208f27883c04d35f8e9eccf2130ac8482d064e0b086efe7ea29b1e4ed"
DRIVE: dict[str, Any] = {
    "classes": [{"name": "road", "color": [128, 64, 128]}, {"name": "rest", "color": [0, 0, 0]}],
    "merges": {"camvid": {"road": ["Road"], "rest": ["Sky", "Building", "Tree"]}},
}


def test_shipped_sets_are_pinned() -> None:
    """A protocol refers to shipped sets by name, so their content must not change under the same name."""
    assert labelsets.shipped() == [*SETS]
    content = "\n".join(labelsets.find(name).model_dump_json() for name in SETS)
    assert hashlib.sha256(content.encode()).hexdigest() == PINNED


@pytest.mark.parametrize("name", ["camvid", "idd-lite", "labelmefacade"])
def test_every_class_of_a_shipped_set_has_a_counterpart_in_cityscapes(name: str) -> None:
    found = merge(labelsets.find("cityscapes"), labelsets.find(name))
    assert found is not None
    assert found.excluded == ()
    wrong = ["wall", "fence", "pole", "traffic light", "traffic sign", "person", "rider", "motorcycle", "bicycle"]
    assert list(found.wrong) == (wrong if name == "labelmefacade" else [])


def test_merges_equal_those_written_by_hand() -> None:
    """By Cityscapes train id; camvid: Sky 0, Building 1, ... Bicyclist 10."""
    by_hand = {
        "camvid": (3, 4, 1, 7, 7, 2, 6, 6, 5, 5, 0, 9, 10, 8, 8, 8, 8, 10, 10),
        "idd-lite": (0, 1, 5, 4, 4, 4, 4, 4, 5, 1, 6, 2, 2, 3, 3, 3, 3, 3, 3),
        "labelmefacade": (3, 2, 0, 6, 6, 6, 6, 6, 5, 5, 4, 6, 6, 1, 1, 1, 1, 6, 6),
    }
    for name, index in by_hand.items():
        found = merge(labelsets.find("cityscapes"), labelsets.find(name))
        assert found is not None
        assert found.index == index


def test_a_class_into_which_nothing_is_merged_is_excluded() -> None:
    labels = LabelSet.model_validate({"name": "drive", **DRIVE, "merges": {"camvid": {"road": ["Road"]}}})
    found = merge(labelsets.find("camvid"), labels)
    assert found is not None
    assert found.excluded == ("rest",)
    assert "Sky" in found.wrong
    assert found.index[3] == 0
    assert set(found.index) == {0, 2}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": DRIVE["classes"][:1]}, "classes: .*at least 2"),
        ({"classes": [*DRIVE["classes"], DRIVE["classes"][0]]}, "classes: 'road' is given twice"),
        (
            {"classes": [*DRIVE["classes"], {**DRIVE["classes"][0], "name": "ROAD", "ids": [9]}]},
            "'road' is given twice",
        ),
        ({"classes": [{"name": "a", "color": [0, 0, 256]}, DRIVE["classes"][0]]}, r"classes\.0\.color\.2: .*255"),
        ({"classes": [{"name": "a", "colour": [0, 0, 0]}, DRIVE["classes"][0]]}, r"classes\.0\."),
        ({"ignored": [1]}, "id 1 is given twice"),
        ({"merge": {}}, "unknown field merge: did you mean 'merges'"),
        ({"merges": {"camvid": {"raod": ["Road"]}}}, "merges.camvid: no class 'raod' here: did you mean 'road'"),
        ({"merges": {"camvid": {"road": ["Road"], "rest": ["Road"]}}}, "merges.camvid: 'Road' is given twice"),
    ],
)
def test_a_bad_file_is_named_with_the_field(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "drive.yaml"
    path.write_text(yaml.safe_dump(DRIVE | change))
    with pytest.raises(UserError, match=words) as raised:
        labelsets.read(path)
    assert str(raised.value).startswith(f"{path}: ")


def write_protocol(folder: Path, **changes: Any) -> Path:
    content = {
        "title": "by day", "classes": "camvid", "source": {"dataset": "camvid", "split": "train"},
        "validation": {"dataset": "camvid", "split": "val"},
        "targets": {"test": {"dataset": "camvid", "split": "test"}}, "iterations": 2, "batch": 2,
        "augmentation": {"short_edge": [32, 48], "crop": 32}, "decoder": {"channels": 16, "lr": 0.003},
        "backbone": "vit-tiny-streets",
    }  # fmt: skip
    path = folder / "drive-by-day.yaml"
    path.write_text(yaml.safe_dump(content | changes, sort_keys=False))
    return path


def write_set(folder: Path, **changes: Any) -> Path:
    path = folder / "drive.yaml"
    path.write_text(yaml.safe_dump(DRIVE | changes))
    return path


def test_a_set_by_path_is_relative_to_the_protocol_and_part_of_its_fingerprint(tmp_path: Path) -> None:
    write_set(tmp_path)
    path = write_protocol(tmp_path, classes="drive.yaml")
    fixed = protocol.load(str(path))
    assert fixed.classes == "drive"
    assert fixed.label_set().names == ("road", "rest")
    again = Protocol.of(fixed.fields(), "", "x")
    assert again.fingerprint() == fixed.fingerprint()
    assert again.label_set() == fixed.label_set()
    write_set(tmp_path, merges={"camvid": {"road": ["Road"], "rest": ["Sky"]}})
    assert protocol.load(str(path)).fingerprint() != fixed.fingerprint()


def test_shipped_protocols_do_not_mention_unused_fields() -> None:
    fields = protocol.load("camvid").fields()
    assert fields["classes"] == "camvid"
    assert "label_sets" not in fields
    assert "merge_by" not in fields["evaluation"]
    assert not any("scored_in" in split for split in fields["targets"].values())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": "camvd"}, "classes: unknown label set 'camvd': did you mean 'camvid'"),
        ({"classes": "gone.yaml"}, "gone.yaml: cannot be read"),
        (
            {"targets": {"test": {"dataset": "camvid", "split": "test", "scored_in": "idd"}}},
            "targets.test.scored_in: unknown label set 'idd'",
        ),
        (
            {"targets": {"test": {"dataset": "idd-lite", "split": "val", "scored_in": "idd-lite"}}},
            "targets.test.scored_in: label set 'idd-lite' states no merge from 'camvid'",
        ),
        (
            {"validation": {"dataset": "camvid", "split": "val", "scored_in": "idd-lite"}},
            "scored_in is for targets",
        ),
        ({"label_sets": [{"name": "camvid", **DRIVE}]}, "label_sets: 'camvid' is the name of another"),
        ({"label_sets": [{"name": "x", "classes": DRIVE["classes"], "merge": {}}]}, "label_sets.*mean 'merges'"),
    ],
)  # fmt: skip
def test_a_protocol_with_a_bad_label_set_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = write_protocol(tmp_path, **changes)
    with pytest.raises(UserError, match=words) as raised:
        protocol.load(str(path))
    assert ".yaml: " in str(raised.value)


def test_an_unknown_class_in_a_merge_is_named(tmp_path: Path) -> None:
    write_set(tmp_path, merges={"camvid": {"road": ["Raod"]}})
    with pytest.raises(
        UserError, match=r"drive-by-day.yaml: classes: .*merges.camvid: .*no class 'Raod': did you mean"
    ):
        protocol.load(str(write_protocol(tmp_path, classes="drive.yaml")))


def test_two_targets_with_the_same_name_are_refused(tmp_path: Path) -> None:
    path = write_protocol(tmp_path)
    path.write_text(path.read_text().replace("targets:\n", "targets:\n  test: {dataset: camvid, split: val}\n"))
    with pytest.raises(UserError, match=r"drive-by-day.yaml: .*'test' is given twice, again in line 11; rename one"):
        protocol.load(str(path))


def test_labels_are_converted_and_counterparts_missing_in_either_direction_are_ignored(tmp_path: Path) -> None:
    tree = TREES["bdd100k"](tmp_path / "bdd100k")
    fixed = protocol.load(str(write_protocol(tmp_path)))
    split = Split(dataset="bdd100k", split="val")
    domain = Domain.find(split, tmp_path, fixed)
    assert domain.classes == labelsets.find("camvid").names
    assert domain.merge is None
    lut = np.array([*(3, 4, 1, 7, 7, 2, 6, 6, 5, 5, 0, 9, 10, 8, 8, 8, 8, 10, 10), *[255] * 237], np.uint8)
    for sample in domain.samples:
        np.testing.assert_array_equal(domain.reader.read(sample)[1], lut[tree.labels[sample.id]])


def test_an_excluded_class_is_ignored_in_the_labels(tmp_path: Path) -> None:
    tree = TREES["camvid-segnet"](tmp_path / "camvid")
    merges = {"camvid": {"road": ["Road"]}}
    write_set(tmp_path, merges=merges)
    target = {"dataset": "camvid", "split": "test", "scored_in": "drive.yaml"}
    fixed = protocol.load(str(write_protocol(tmp_path, targets={"test": target})))
    domain = Domain.find(fixed.targets["test"], tmp_path, fixed)
    assert domain.merge is not None
    assert domain.merge.excluded == ("rest",)
    for sample in domain.samples:
        expected = np.where(tree.labels[sample.id] == 3, 0, 255)
        np.testing.assert_array_equal(domain.reader.read(sample)[1], expected)


def test_without_a_merge_both_sets_are_named(tmp_path: Path) -> None:
    TREES["idd-lite"](tmp_path / "idd-lite")
    fixed = protocol.load("streets")
    with pytest.raises(UserError, match=r"idd-lite is labelled in 7 classes \(idd-lite\), .*label set 'cityscapes'"):
        Domain.find(Split(dataset="idd-lite", split="val"), tmp_path, fixed)


def test_another_packages_set_is_found_and_part_of_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "site" / "roads-1.0.dist-info"
    metadata.mkdir(parents=True)
    content = (
        f"from benchmark.labelsets import LabelSet\nSET = LabelSet.model_validate({ {'name': 'roads', **DRIVE} })\n"
    )
    (tmp_path / "site" / "roads_package.py").write_text(content)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: roads\nVersion: 1.0\n")
    points = "roads = roads_package:SET\nstones = roads_package:SET\n"
    (metadata / "entry_points.txt").write_text(f"[dgss_benchmark.labelsets]\n{points}")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert labelsets.known() == [*SETS, "roads", "stones"]
    fixed = protocol.load(str(write_protocol(tmp_path, classes="roads")))
    assert fixed.label_set().names == ("road", "rest")
    assert [each["name"] for each in fixed.fields()["label_sets"]] == ["roads"]
    with pytest.raises(UserError, match="label set 'stones': roads_package:SET is not a LabelSet of this name"):
        labelsets.find("stones")
