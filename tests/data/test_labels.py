"""Compare the label tables with independent copies of the same data."""

from __future__ import annotations

import json

import numpy as np
import pytest
from mmseg.datasets import CityscapesDataset
from mmseg.datasets.mapillary import MapillaryDataset_v1, MapillaryDataset_v2

from benchmark.data import labels

from .conftest import SHARED, needs_shared
from .trees import LABEL_IDS, SYNTHIA, TRAIN_IDS, URBANSYN


def test_classes_equal_mmsegmentation() -> None:
    meta = CityscapesDataset.METAINFO
    assert tuple(meta["classes"]) == labels.CITYSCAPES
    assert [list(color) for color in labels.CITYSCAPES_COLORS] == meta["palette"]
    assert len(labels.CAMVID) == len(set(labels.CAMVID_COLORS)) == 11


@pytest.mark.parametrize(
    ("name", "meaning"), [("cityscapes_label_ids", LABEL_IDS), ("gta5_label_ids", {**LABEL_IDS, 34: 255}),
                          ("train_ids", TRAIN_IDS), ("synthia_ids", SYNTHIA), ("urbansyn_ids", URBANSYN)]
)  # fmt: skip
def test_tables_map_known_ids_and_ignore_the_rest(name: str, meaning: dict[int, int]) -> None:
    lut = labels.lut(name)
    assert lut.dtype == np.uint8
    assert lut.tolist() == [meaning.get(i, 255) for i in range(256)]
    assert np.flatnonzero(labels.table(name).known).tolist() == sorted(meaning)


def test_unknown_ids_are_listed_once() -> None:
    ids = np.array([[7, 200], [34, 200]], np.uint8)
    assert labels.table("cityscapes_label_ids").unknown(ids) == [34, 200]
    assert labels.table("gta5_label_ids").unknown(ids) == [200]


def test_camvid_to_cityscapes_maps_classes_of_the_same_meaning() -> None:
    ours = labels.camvid_to_cityscapes(np.array([*range(11), 255], np.uint8))
    names = [labels.CITYSCAPES[i] for i in ours[:-1]]
    assert names == ["sky", "building", "pole", "road", "sidewalk", "vegetation", "traffic sign", "fence", "car",
                     "person", "bicycle"]  # fmt: skip
    assert ours[-1] == 255


def test_every_vistas_name_of_both_releases_has_a_train_id() -> None:
    known = labels.FACTS["mapillary_names"]["train_ids"]
    assert set(MapillaryDataset_v1.METAINFO["classes"]) | set(MapillaryDataset_v2.METAINFO["classes"]) == set(known)


def test_tables_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        labels.lut("train_ids")[0] = 1


def test_colorize_maps_ignored_pixels_to_black() -> None:
    painted = labels.colorize(np.array([[0, 18, 255]], np.uint8), labels.CITYSCAPES_COLORS)
    assert painted.tolist() == [[[128, 64, 128], [119, 11, 32], [0, 0, 0]]]


@needs_shared
def test_tables_equal_the_reference_file() -> None:
    facts = json.loads((SHARED / "labels.json").read_text())
    pairs = {
        "cityscapes_label_ids": "cityscapes_labelid_to_trainid", "gta5_label_ids": "gta5_labelid_to_trainid",
        "train_ids": "bdd100k_mask_to_trainid", "synthia_ids": "synthia_to_trainid",
        "urbansyn_ids": "urbansyn_to_trainid",
    }  # fmt: skip
    for ours, theirs in pairs.items():
        assert labels.FACTS["tables"][ours]["ids"] == facts[theirs]
    names = facts["mapillary_v1.2_readable"]
    tables = {"mapillary_names": "mapillary_v1.2_to_trainid",
              "mapillary_names_hrda": "mapillary_v1.2_to_trainid_hrda_robustnet"}  # fmt: skip
    for ours, theirs in tables.items():
        known = labels.FACTS[ours]["train_ids"]
        assert {name: facts[theirs][str(i)] for i, name in enumerate(names)} == {name: known[name] for name in names}
