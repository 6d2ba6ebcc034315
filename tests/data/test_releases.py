"""Features of single datasets: parts, lists of frames, label mappings and known faults."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.common.errors import UserError
from benchmark.data.readers import acdc, camvid, foggy_driving, foggy_zurich, gta5, mapillary, synthia

from .trees import (
    SYNTHIA,
    TREES,
    VISTAS_1,
    VISTAS_2,
    acdc_tree,
    flattened_acdc_tree,
    foggy_driving_tree,
    foggy_zurich_tree,
    gta5_tree,
    mapillary_tree,
    synthia_tree,
    write_channels,
    write_image,
    write_label,
)


def test_gta5_splits_file(tmp_path: Path) -> None:
    tree = gta5_tree(tmp_path)
    with pytest.raises(UserError, match=r"'val' needs .*splits\.json"):
        gta5.READER.samples(tmp_path, "val")
    lists = tmp_path / "splits.json"
    lists.write_text(json.dumps({"train": ["00001"], "val": ["24966"]}))
    assert [s.id for s in gta5.READER.samples(tmp_path, "train")] == ["00001"]
    assert [s.id for s in gta5.READER.samples(tmp_path, "val")] == ["24966"]
    assert [s.id for s in gta5.READER.samples(tmp_path, "all")] == sorted(tree.labels)
    lists.write_text(json.dumps({"train": ["00002"]}))
    with pytest.raises(UserError, match=r"splits\.json: .*'00002'.*'train'"):
        gta5.READER.samples(tmp_path, "train")
    faults = {
        "[": "JSON",
        "[]": "no split 'train'",
        '{"train": "00001"}': "'train' .*list",
        '{"train": [1]}': "'1'",
        '{"train": []}': "'train' .*list",
        '{"train": ["00001"], "train": ["24966"]}': "'train' is given twice",
        '{"train": ["00001"], "val": ["00001"]}': "1 .*in both 'train' and 'val', first '00001'",
        "[" * 100_000: "nested too deeply",
    }
    for wrong, fault in faults.items():
        lists.write_text(wrong)
        with pytest.raises(UserError, match=rf"splits\.json: .*{fault}"):
            gta5.READER.samples(tmp_path, "train")


def test_gta5_known_faults(tmp_path: Path) -> None:
    for key, size in {"15188": (4, 6), "17705": (4, 6), "20801": (8, 12), "00001": (8, 12)}.items():
        write_image(tmp_path / f"images/{key}.png", size)
        write_label(tmp_path / f"labels/{key}.png", np.array([[7, 8], [11, 34]], np.uint8), palette=True)
    samples, notes = gta5.READER.survey(tmp_path, "all")
    assert [sample.id for sample in samples] == ["00001", "20801"]
    unusable, resized = notes
    assert unusable.startswith("2 unusable frame(s)")
    assert unusable.endswith(": 15188, 17705")
    assert resized.startswith("1 label(s) resized")
    with pytest.raises(UserError, match="label is 2x2"):
        gta5.READER.read(samples[0])
    np.testing.assert_array_equal(
        gta5.READER.read(samples[1])[1], np.kron([[0, 1], [2, 255]], np.ones((4, 6))).astype(np.uint8)
    )


def test_acdc_in_one_folder_has_no_conditions(tmp_path: Path) -> None:
    flattened_acdc_tree(tmp_path)
    with pytest.raises(UserError, match=r"rgb_anon/val .*'val:fog'"):
        acdc.READER.samples(tmp_path, "val:fog")
    first = acdc_tree(tmp_path)  # with the original folders as well, conditions are known and frames counted once
    assert [sample.id for sample in acdc.READER.samples(tmp_path, "val")] == list(first.labels)


def test_acdc_conditions(tmp_path: Path) -> None:
    tree = acdc_tree(tmp_path)
    assert [s.id for s in acdc.READER.samples(tmp_path, "val:night")] == [k for k in tree.labels if "night" in k]
    with pytest.raises(UserError, match="unknown condition 'nihgt' in split 'val:nihgt'; did you mean 'night'"):
        acdc.READER.samples(tmp_path, "val:nihgt")
    shutil.rmtree(tmp_path / "gt" / "rain")
    assert len(acdc.READER.samples(tmp_path, "val:snow")) == 1
    with pytest.raises(UserError, match="rain"):
        acdc.READER.samples(tmp_path, "val")


def test_mapillary_needs_a_valid_config(tmp_path: Path) -> None:
    tree = TREES["mapillary"](tmp_path)
    sample = mapillary.READER.samples(tmp_path, "val")[0]
    assert mapillary.READER.samples(tmp_path, "validation")[0] == sample
    config = tmp_path / "config.json"
    entries = json.loads(config.read_text())["labels"]
    # A config in another order results in other train ids, so the order is read from the file.
    config.write_text(json.dumps({"labels": entries[::-1]}))
    assert not np.array_equal(mapillary.READER.read_label(sample), tree.labels[sample.id])
    config.write_text(json.dumps({"labels": [{**entries[0], "readable": "Traffic Ligth"}, *entries[1:]]}))
    with pytest.raises(UserError, match=r"config\.json: unknown class 'Traffic Ligth'; did you mean 'Traffic Light'"):
        mapillary.READER.read_label(sample)
    faults = {
        "{}": "no list 'labels'",
        "[" * 100_000: "nested too deeply",
        json.dumps({"labels": entries * 4}): "264 classes",
        json.dumps({"labels": []}): "0 classes",
        json.dumps({"labels": [entries[0], *entries]}): "class 'Bird' is in 'labels' twice",
        json.dumps({"labels": []})[:-1] + ', "labels": []}': "'labels' is given twice",
    }
    for number, (wrong, fault) in enumerate(faults.items()):
        config.write_text(wrong)
        os.utime(config, ns=(number, number))  # the table is kept by the file's time
        with pytest.raises(UserError, match=rf"config\.json: .*{fault}"):
            mapillary.READER.read_label(sample)
    config.unlink()
    with pytest.raises(UserError, match=r"config\.json.* missing"):
        mapillary.READER.read_label(sample)


def test_mapillary_labels_of_an_unknown_release_need_a_single_config(tmp_path: Path) -> None:
    mapillary_tree(tmp_path, "labels", "config_v1.2.json", VISTAS_1)
    tree = mapillary_tree(tmp_path, "labels", "config_v2.0.json", VISTAS_2)
    with pytest.raises(UserError, match=r"config_v1\.2\.json or config_v2\.0\.json; .*/config\.json$"):
        mapillary.READER.samples(tmp_path, "val")
    shutil.copy(tmp_path / "config_v2.0.json", tmp_path / "config.json")
    samples, (note,) = mapillary.READER.survey(tmp_path, "val")
    assert note.endswith(" config.json, mapping rein")
    for sample in samples:
        np.testing.assert_array_equal(mapillary.READER.read_label(sample), tree.labels[sample.id])


def test_mapillary_has_two_mappings_and_notes_which_is_used(tmp_path: Path) -> None:
    names = ["Road", "Bike Lane", "Crosswalk - Plain", "Curb Cut", "Parking", "Pedestrian Area", "Service Lane",
             "Lane Marking - Crosswalk", "Manhole", "Street Light", "Traffic Sign Frame", "Traffic Sign (Back)",
             "Traffic Sign (Front)", "Lane Marking - General", "Bicyclist"]  # fmt: skip
    mapillary_tree(tmp_path, "labels", "config.json", VISTAS_1)
    hrda = mapillary.READER.using("hrda")
    (sample, *_), (note,) = hrda.survey(tmp_path, "val")
    assert note.endswith(" config.json, mapping hrda")
    write_label(sample.label, np.array([[VISTAS_1.index(name) for name in names]], np.uint8), palette=True)
    assert mapillary.READER.read_label(sample).tolist() == [[0, 0, 0, 1, 0, 1, 0, 0, 255, 5, 7, 7, 7, 0, 12]]
    ignored = [255] * 7
    assert hrda.read_label(sample).tolist() == [[0, *ignored, 0, 255, 255, 255, 7, 0, 12]]
    assert mapillary.READER.using(None) is mapillary.READER
    with pytest.raises(UserError, match="mapillary: no mapping 'hdra'; did you mean 'hrda'"):
        mapillary.READER.using("hdra")
    with pytest.raises(UserError, match="gta5: no mapping 'rein'"):
        gta5.READER.using("rein")


def test_mapillary_hrda_mapping_supports_only_the_first_release(tmp_path: Path) -> None:
    mapillary_tree(tmp_path, "v2.0/labels", "config_v2.0.json", VISTAS_2)
    hrda = mapillary.READER.using("hrda")
    with pytest.raises(UserError, match=r"mapping 'hrda' .*'Ambiguous Barrier'.* use mapping 'rein'"):
        hrda.read_label(hrda.samples(tmp_path, "val")[0])


def test_a_synthia_label_with_a_wrong_checksum_is_named(tmp_path: Path) -> None:
    """Pillow reads it; OpenCV, which reads the ids, does not."""
    synthia_tree(tmp_path, "")
    sample = synthia.READER.samples(tmp_path, "train")[0]
    content = bytearray(sample.label.read_bytes())
    start = content.index(b"IDAT")
    content[start + 4 + int.from_bytes(content[start - 4 : start], "big")] ^= 1
    sample.label.write_bytes(content)
    Image.open(sample.label).load()
    with pytest.raises(UserError, match=rf"{sample.label.name}: damaged; restore the official file from SYNTHIA"):
        synthia.READER.read_label(sample)


def test_synthia_class_is_the_first_16_bit_channel(tmp_path: Path) -> None:
    synthia_tree(tmp_path, "")
    sample = synthia.READER.samples(tmp_path, "train")[0]
    assert not np.asarray(Image.open(sample.label))[..., 0].any(), "Pillow reads the high bytes, which are 0 here"
    write_channels(sample.label, np.arange(23, dtype=np.uint8)[None])
    assert synthia.READER.read_label(sample).tolist() == [list(SYNTHIA.values())]
    write_channels(sample.label, np.array([[3, 258]], np.uint16))
    with pytest.raises(UserError, match=r"label id 258 .*synthia"):
        synthia.READER.read_label(sample)
    for mode in ("RGB", "L", "I;16"):
        Image.new(mode, (4, 4)).save(sample.label)
        with pytest.raises(UserError, match="16-bit channels") as raised:
            synthia.READER.read_label(sample)
        assert str(sample.label) in str(raised.value)
    assert "terrain, truck or train" in synthia.READER.survey(tmp_path, "train")[1][0]


def test_foggy_zurich_splits_are_defined_by_lists(tmp_path: Path) -> None:
    foggy_zurich_tree(tmp_path)
    reader, lists = foggy_zurich.READER, tmp_path / "Foggy_Zurich" / "lists_file_names"
    assert [sample.id for sample in reader.samples(tmp_path, "testv1")] == ["GOPR0122/frame_000001"]
    path = lists / "RGB_testv2_filenames.txt"
    path.write_text(path.read_text() + "RGB/GOPR0119/gone.png\nRGB/GOPR0119/gone_too.png\n")
    with pytest.raises(UserError, match=r"testv2_filenames\.txt: 2 of .*4 .*'GOPR0119/gone'"):
        reader.samples(tmp_path, "testv2")
    path.unlink()
    with pytest.raises(UserError, match=r"testv2_filenames\.txt.* cannot be read .*Foggy Zurich"):
        reader.samples(tmp_path, "testv2")


def test_foggy_driving_parts(tmp_path: Path) -> None:
    tree = foggy_driving_tree(tmp_path)
    for part in ("test", "test_extra"):
        expected = sorted(key for key in tree.labels if key.startswith(f"{part}/"))
        assert [sample.id for sample in foggy_driving.READER.samples(tmp_path, part)] == expected
    shutil.rmtree(tmp_path / "Foggy_Driving" / "gtCoarse")
    assert len(foggy_driving.READER.samples(tmp_path, "test")) == 2
    with pytest.raises(UserError, match="gtCoarse"):
        foggy_driving.READER.samples(tmp_path, "all")


def test_orphans_are_noted_if_the_release_has_some(tmp_path: Path) -> None:
    tree = TREES["bdd100k"](tmp_path)
    assert tree.reader.survey(tmp_path, "val")[1] == ()
    tree.reader.samples(tmp_path, "val")[0].label.unlink()
    (note,) = tree.reader.survey(tmp_path, "val")[1]
    assert note.startswith("1 frame(s) without image or label")


@pytest.mark.parametrize("layout", ["camvid-segnet", "camvid-official"])
def test_camvid_parts_and_sequences(layout: str, tmp_path: Path) -> None:
    TREES[layout](tmp_path)

    def ids(split: str) -> list[str]:
        return [sample.id for sample in camvid.READER.samples(tmp_path, split)]

    assert ids("train") == ["0001TP_008520", "0006R0_f00930", "0016E5_07920", "0016E5_08190"]
    assert ids("train:0016E5") == ["0016E5_07920", "0016E5_08190"]
    assert ids("val:0016E5") == ["0016E5_07959", "0016E5_08159"] == ids("val")
    assert ids("*:0001TP") == ["0001TP_008520", "0001TP_008550"]
    assert ids("test:Seq05VD") == ["Seq05VD_f00000"]
    with pytest.raises(UserError, match="unknown sequence '0016E6' in split 'val:0016E6'; did you mean '0016E5'"):
        ids("val:0016E6")
    with pytest.raises(UserError, match="split 'val:Seq05VD'"):
        ids("val:Seq05VD")
