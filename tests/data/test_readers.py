"""Every reader on a miniature of every official layout: exact train ids, and a clear line for every fault."""

from __future__ import annotations

import json
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark import registry
from benchmark.data.loader import TrainingSet
from benchmark.data.readers import acdc, camvid, cityscapes, foggy_driving, foggy_zurich, gta5, mapillary, synthia
from benchmark.data.samples import Reader, read_ids, read_image
from benchmark.errors import UserError
from benchmark.protocol import Augmentation

from .trees import (
    SYNTHIA,
    TREES,
    VISTAS_1,
    VISTAS_2,
    Tree,
    acdc_tree,
    chunk,
    cityscapes_tree,
    flattened_acdc_tree,
    foggy_driving_tree,
    foggy_zurich_tree,
    gta5_tree,
    mapillary_tree,
    segnet_tree,
    synthia_tree,
    write_channels,
    write_image,
    write_label,
)

READERS: dict[str, Reader] = {name: registry.find("dataset", name) for name in registry.names("dataset")}


@pytest.fixture(params=TREES)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    return TREES[request.param](tmp_path)


def test_every_layout_gives_exact_train_ids(tree: Tree) -> None:
    samples = tree.reader.samples(tree.root, tree.split)
    assert [sample.id for sample in samples] == sorted(tree.labels)
    for sample in samples:
        image, label = tree.reader.read(sample)
        np.testing.assert_array_equal(label, tree.labels[sample.id])
        assert label.dtype == np.uint8
        np.testing.assert_array_equal(image, np.asarray(Image.open(sample.image)))


@pytest.mark.parametrize("name", ["gta5", "cityscapes", "synthia", "mapillary", "acdc"])
def test_a_converted_tree_trains_on_the_same_tensors(name: str, tmp_path: Path) -> None:
    """As mmsegmentation's and DAFormer's scripts convert: train ids beside the labels; in their place, where read."""
    plain, converted = (TREES[name](tmp_path / kind) for kind in ("plain", "converted"))
    for sample in converted.reader.samples(converted.root, converted.split):
        in_place = sample.label.name.endswith("labelIds.png")
        stem = sample.label.name.removesuffix("labelIds.png") if in_place else f"{sample.label.stem}_"
        write_label(sample.label.with_name(f"{stem}labelTrainIds.png"), converted.labels[sample.id])
        if in_place:
            sample.label.unlink()
    one, other = (
        TrainingSet(
            tree.reader.samples(tree.root, tree.split), tree.reader, Augmentation(short_edges=(12, 20), crop=8),
            seed=0, length=8,
        )
        for tree in (plain, converted)
    )  # fmt: skip
    for position in range(8):
        assert one[position]["id"] == other[position]["id"]
        for part in ("image", "label"):
            assert torch.equal(one[position][part], other[position][part])


def test_every_reader_has_a_tree_and_the_name_of_its_file() -> None:
    for name, reader in READERS.items():
        assert reader.name == name
        assert any(key == name or key.startswith(f"{name}-") for key in TREES)
        assert all(reader.released(split) for split in reader.splits[:1])


@pytest.mark.parametrize("which", ["image", "label"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "noise", "gone"])
def test_damaged_file_is_named(tree: Tree, which: str, damage: str) -> None:
    sample = tree.reader.samples(tree.root, tree.split)[0]
    path: Path = getattr(sample, which)
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[: len(whole) * 2 // 3], "noise": b"\x00\xff" * 400}.get(damage, b""))
    if damage == "gone":
        path.unlink()
    with pytest.raises(UserError) as raised:
        tree.reader.read(sample)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_label_of_another_size_is_named(tree: Tree) -> None:
    sample = tree.reader.samples(tree.root, tree.split)[0]
    height, width = tree.labels[sample.id].shape
    write_image(sample.image, (height + 1, width))
    with pytest.raises(UserError, match=f"label is {width}x{height}, its image {width}x{height + 1}") as raised:
        tree.reader.read(sample)
    assert str(sample.label) in str(raised.value)


def test_unknown_id_is_named(tree: Tree) -> None:
    sample = tree.reader.samples(tree.root, tree.split)[0]
    if sample.label.stem.endswith("_L"):
        colors = np.array(Image.open(sample.label))
        colors[3, 4] = (1, 2, 3)
        Image.fromarray(colors).save(sample.label)
        stranger = r"colour \(1, 2, 3\)"
    elif tree.reader.name == "synthia":
        ids = np.full(tree.labels[sample.id].shape, 3, np.uint8)
        ids[3, 4] = 200
        write_channels(sample.label, ids)
        stranger = "label id 200"
    else:
        ids = np.array(Image.open(sample.label))
        ids[3, 4] = 200
        write_label(sample.label, ids)
        stranger = "label id 200"
    with pytest.raises(UserError, match=stranger) as raised:
        tree.reader.read_label(sample)
    assert str(sample.label) in str(raised.value)


def test_missing_labels_folder_names_path_and_remedy(tree: Tree) -> None:
    folder = tree.reader.samples(tree.root, tree.split)[0].label.parent
    while folder.parent != tree.root:
        folder = folder.parent
    shutil.rmtree(folder)
    with pytest.raises(UserError) as raised:
        tree.reader.samples(tree.root, tree.split)
    assert str(tree.root) in str(raised.value)
    assert tree.reader.home in str(raised.value)


def test_no_pair_at_all_counts_what_is_there(tree: Tree) -> None:
    for sample in tree.reader.samples(tree.root, tree.split):
        sample.label.unlink()
        for other in sample.label.parent.glob(f"{sample.id.rsplit('/')[-1]}*"):
            other.unlink()
    with pytest.raises(UserError, match=r"images, 0 labels\); get it from"):
        tree.reader.samples(tree.root, tree.split)


def test_orphans_stop_every_reader_but_that_of_a_release_known_for_them(tree: Tree) -> None:
    samples = tree.reader.samples(tree.root, tree.split)
    samples[0].image.unlink()
    if tree.reader.name == "bdd100k":
        assert tree.reader.samples(tree.root, tree.split) == samples[1:]
    else:
        with pytest.raises(UserError, match=r"1 file\(s\)") as raised:
            tree.reader.samples(tree.root, tree.split)
        assert str(samples[0].label) in str(raised.value)


@pytest.mark.parametrize("name", READERS)
def test_root_that_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing; unpack") as raised:
        READERS[name].samples(tmp_path / "nowhere", READERS[name].splits[0])
    assert str(tmp_path / "nowhere") in str(raised.value)
    assert READERS[name].home in str(raised.value)


@pytest.mark.parametrize("name", READERS)
def test_misspelt_split_gets_a_suggestion(name: str, tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    (tmp_path / "splits.json").write_text('{"train": [], "val": []}')
    known = READERS[name].splits
    right, wrong = ("train", "trian") if "train" in known else (known[0], f"{known[0]}x")
    with pytest.raises(UserError, match=rf"no split '{wrong}'; did you mean '{right}'\?"):
        READERS[name].samples(tmp_path, wrong)


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
    with pytest.raises(UserError, match=r"splits\.json: split 'train' names '00002'"):
        gta5.READER.samples(tmp_path, "train")
    faults = {
        "[": "not valid JSON",
        "[]": "no split 'train'",
        '{"train": "00001"}': "is not a list",
        '{"train": [1]}': "'1'",
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
    assert notes == (
        "2 unusable frame(s) left out: 15188, 17705",
        "1 label(s) of another size than their image, resized to it",
    )
    with pytest.raises(UserError, match="label is 2x2"):
        gta5.READER.read(samples[0])
    np.testing.assert_array_equal(
        gta5.READER.read(samples[1])[1], np.kron([[0, 1], [2, 255]], np.ones((4, 6))).astype(np.uint8)
    )


def test_acdc_in_one_folder_has_no_conditions(tmp_path: Path) -> None:
    flattened_acdc_tree(tmp_path)
    with pytest.raises(UserError, match=r"rgb_anon/val holds all conditions in one folder, and split 'val:fog' asks"):
        acdc.READER.samples(tmp_path, "val:fog")
    first = acdc_tree(tmp_path)  # the download beside its copy: conditions are known, nothing counts twice
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


def test_mapillary_config_must_be_there_and_known(tmp_path: Path) -> None:
    tree = TREES["mapillary"](tmp_path)
    sample = mapillary.READER.samples(tmp_path, "val")[0]
    assert mapillary.READER.samples(tmp_path, "validation")[0] == sample
    config = tmp_path / "config.json"
    entries = json.loads(config.read_text())["labels"]
    # A config in another order gives other train ids: it is read, not assumed.
    config.write_text(json.dumps({"labels": entries[::-1]}))
    assert not np.array_equal(mapillary.READER.read_label(sample), tree.labels[sample.id])
    config.write_text(json.dumps({"labels": [{**entries[0], "readable": "Traffic Ligth"}, *entries[1:]]}))
    with pytest.raises(UserError, match=r"config\.json: unknown class 'Traffic Ligth'; did you mean 'Traffic Light'"):
        mapillary.READER.read_label(sample)
    config.write_text("{}")
    with pytest.raises(UserError, match=r"config\.json: no list 'labels'"):
        mapillary.READER.read_label(sample)
    config.unlink()
    with pytest.raises(UserError, match=r"config\.json is missing"):
        mapillary.READER.read_label(sample)


def test_mapillary_labels_of_unnamed_release_need_one_config(tmp_path: Path) -> None:
    mapillary_tree(tmp_path, "labels", "config_v1.2.json", VISTAS_1)
    tree = mapillary_tree(tmp_path, "labels", "config_v2.0.json", VISTAS_2)
    with pytest.raises(UserError, match=r"either release, config_v1\.2\.json or config_v2\.0\.json; copy the one"):
        mapillary.READER.samples(tmp_path, "val")
    shutil.copy(tmp_path / "config_v2.0.json", tmp_path / "config.json")
    samples, notes = mapillary.READER.survey(tmp_path, "val")
    assert notes == ("labels of labels by config.json, mapping rein",)
    for sample in samples:
        np.testing.assert_array_equal(mapillary.READER.read_label(sample), tree.labels[sample.id])


def test_mapillary_has_two_mappings_and_says_which(tmp_path: Path) -> None:
    names = ["Road", "Bike Lane", "Crosswalk - Plain", "Curb Cut", "Parking", "Pedestrian Area", "Service Lane",
             "Lane Marking - Crosswalk", "Manhole", "Street Light", "Traffic Sign Frame", "Traffic Sign (Back)",
             "Traffic Sign (Front)", "Lane Marking - General", "Bicyclist"]  # fmt: skip
    mapillary_tree(tmp_path, "labels", "config.json", VISTAS_1)
    hrda = mapillary.READER.using("hrda")
    (sample, *_), notes = hrda.survey(tmp_path, "val")
    assert notes == ("labels of labels by config.json, mapping hrda",)
    write_label(sample.label, np.array([[VISTAS_1.index(name) for name in names]], np.uint8), palette=True)
    assert mapillary.READER.read_label(sample).tolist() == [[0, 0, 0, 1, 0, 1, 0, 0, 255, 5, 7, 7, 7, 0, 12]]
    ignored = [255] * 7
    assert hrda.read_label(sample).tolist() == [[0, *ignored, 0, 255, 255, 255, 7, 0, 12]]
    assert mapillary.READER.using(None) is mapillary.READER
    with pytest.raises(UserError, match="mapillary: no mapping 'hdra'; did you mean 'hrda'"):
        mapillary.READER.using("hdra")
    with pytest.raises(UserError, match="gta5: no mapping 'rein'; none is known"):
        gta5.READER.using("rein")


def test_mapillary_hrda_knows_the_first_release_alone(tmp_path: Path) -> None:
    mapillary_tree(tmp_path, "v2.0/labels", "config_v2.0.json", VISTAS_2)
    hrda = mapillary.READER.using("hrda")
    with pytest.raises(UserError, match=r"mapping 'hrda' knows Vistas v1\.2, not 'Ambiguous Barrier' of v2\.0"):
        hrda.read_label(hrda.samples(tmp_path, "val")[0])


def test_synthia_class_is_the_first_16_bit_channel(tmp_path: Path) -> None:
    synthia_tree(tmp_path, "")
    sample = synthia.READER.samples(tmp_path, "train")[0]
    assert not np.asarray(Image.open(sample.label))[..., 0].any(), "Pillow sees high bytes, which are 0 here"
    write_channels(sample.label, np.arange(23, dtype=np.uint8)[None])
    assert synthia.READER.read_label(sample).tolist() == [list(SYNTHIA.values())]
    write_channels(sample.label, np.array([[3, 258]], np.uint16))
    with pytest.raises(UserError, match="label id 258 does not exist in synthia"):
        synthia.READER.read_label(sample)
    for mode in ("RGB", "L", "I;16"):
        Image.new(mode, (4, 4)).save(sample.label)
        with pytest.raises(UserError, match="where 16-bit channels, the first the class, are expected") as raised:
            synthia.READER.read_label(sample)
        assert str(sample.label) in str(raised.value)
    assert "terrain, truck or train" in synthia.READER.survey(tmp_path, "train")[1][0]


def test_foggy_zurich_is_what_its_list_names(tmp_path: Path) -> None:
    foggy_zurich_tree(tmp_path)
    reader, lists = foggy_zurich.READER, tmp_path / "Foggy_Zurich" / "lists_file_names"
    assert [sample.id for sample in reader.samples(tmp_path, "testv1")] == ["GOPR0122/frame_000001"]
    path = lists / "RGB_testv2_filenames.txt"
    path.write_text(path.read_text() + "RGB/GOPR0119/gone.png\nRGB/GOPR0119/gone_too.png\n")
    with pytest.raises(UserError, match=r"testv2_filenames\.txt: 2 of its 4 frames are missing, first 'GOPR0119/gone'"):
        reader.samples(tmp_path, "testv2")
    path.unlink()
    with pytest.raises(UserError, match=r"testv2_filenames\.txt cannot be read .*it is part of Foggy Zurich"):
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


def test_frames_without_partner_are_counted_where_a_release_has_them(tmp_path: Path) -> None:
    tree = TREES["bdd100k"](tmp_path)
    assert tree.reader.survey(tmp_path, "val")[1] == ()
    tree.reader.samples(tmp_path, "val")[0].label.unlink()
    assert tree.reader.survey(tmp_path, "val")[1] == ("1 without image or label left out",)


@pytest.mark.parametrize(("link", "target"), [("loop", "."), ("loop", ".."), ("a.png", "a.png")])
def test_a_link_in_a_circle_is_named(link: str, target: str, tmp_path: Path) -> None:
    tree = cityscapes_tree(tmp_path)
    place = tmp_path / "leftImg8bit" / "val" / "munster" / link
    place.symlink_to(target)
    with pytest.raises(UserError, match="a link that leads back to") as raised:
        tree.reader.samples(tmp_path, "val")
    assert "munster" in str(raised.value)
    assert "remove it" in str(raised.value)


def test_links_without_a_circle_are_followed(tmp_path: Path) -> None:
    tree = cityscapes_tree(tmp_path / "disk")
    for part in ("leftImg8bit", "gtFine"):
        place = tmp_path / "linked" / part / "val"
        place.mkdir(parents=True)
        for city in (tmp_path / "disk" / part / "val").iterdir():
            (place / city.name).symlink_to(city)
    assert [s.id for s in tree.reader.samples(tmp_path / "linked", "val")] == sorted(tree.labels)


def test_a_file_that_is_a_link_in_a_circle_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("a.png")
    with pytest.raises(UserError, match=r"a\.png: a link that leads back to itself; remove it"):
        read_image(tmp_path / "a.png")


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Within the context the superuser is nobody; others are bound as they are."""
    superuser = os.name == "posix" and os.geteuid() == 0
    if superuser:
        os.seteuid(65534)
    try:
        yield
    finally:
        if superuser:
            os.seteuid(0)


def read_all(tree: Tree) -> None:
    for sample in tree.reader.samples(tree.root, tree.split):
        tree.reader.read(sample)


@pytest.mark.skipif(os.name != "posix", reason="needs permissions")
@pytest.mark.parametrize("where", ["", "leftImg8bit/val", "gtFine/val/munster", "image"])
def test_what_must_not_be_read_is_named(where: str) -> None:
    with tempfile.TemporaryDirectory() as place:  # pytest's own is closed to others
        os.chmod(place, 0o755)
        tree = cityscapes_tree(Path(place) / "cityscapes")
        samples = tree.reader.samples(tree.root, "val")
        closed = samples[1].image if where == "image" else tree.root / where
        closed.chmod(0o000)
        with bound_by_permissions(), pytest.raises(UserError, match="no permission to read it; make it and") as raised:
            read_all(tree)
        assert str(closed) in str(raised.value)
        closed.chmod(0o755)


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
    with pytest.raises(UserError, match="no image has its label in split 'val:Seq05VD'"):
        ids("val:Seq05VD")


def test_hidden_by_products_are_no_frames(tmp_path: Path) -> None:
    tree = segnet_tree(tmp_path)
    for part in ("train", "trainannot"):
        (tmp_path / part / "._0006R0_f00930.png").write_bytes(b"resource fork")
    assert len(camvid.READER.samples(tmp_path, "*")) == len(tree.labels)


def test_label_in_place_of_an_image(tmp_path: Path) -> None:
    for palette in (False, True):
        write_label(tmp_path / "a.png", np.zeros((4, 4), np.uint8), palette=palette)
        with pytest.raises(UserError, match=r"a\.png: a (grey|palette) file where a colour image is expected"):
            read_image(tmp_path / "a.png")


def test_sixteen_bit_and_colour_files_are_no_labels(tmp_path: Path) -> None:
    tree = TREES["cityscapes"](tmp_path)
    sample = cityscapes.READER.samples(tmp_path, "val")[0]
    for pixels in (np.zeros((11, 23), np.uint16), np.zeros((11, 23, 3), np.uint8)):
        Image.fromarray(pixels).save(sample.label)
        with pytest.raises(UserError, match="where an 8-bit image of label ids is expected") as raised:
            tree.reader.read_label(sample)
        assert str(sample.label) in str(raised.value)


def test_absurd_size_in_a_damaged_header(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg")
    raw = (tmp_path / "a.jpg").read_bytes()
    size = struct.pack(">HH", 10, 20)
    assert size in raw
    (tmp_path / "a.jpg").write_bytes(raw.replace(size, b"\xff\xfe\xff\xfe"))
    with pytest.raises(UserError, match=r"a\.jpg: cannot be read"):
        read_image(tmp_path / "a.jpg")


def test_exif_orientation_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (10, 20, 3)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_label_files_shrunk_to_fewer_bits_keep_their_ids(bits: int, tmp_path: Path) -> None:
    ids = np.arange(8) % 2**bits
    row = np.packbits(((ids[:, None] >> np.arange(bits)[::-1]) & 1).astype(np.uint8)).tobytes()
    header = struct.pack(">IIBBBBB", 8, 1, bits, 0, 0, 0, 0)
    body = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" + row)), chunk(b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(body))
    np.testing.assert_array_equal(read_ids(tmp_path / "a.png"), ids[None])
