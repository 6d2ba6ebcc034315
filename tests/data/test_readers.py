"""Test every reader on small copies of all official layouts: exact train ids, and a clear error for every fault."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.data.loader import TrainingSet
from benchmark.data.samples import Reader
from benchmark.protocol import Augmentation

from .trees import (
    TREES,
    Tree,
    write_channels,
    write_image,
    write_label,
)

READERS: dict[str, Reader] = {name: registry.find("dataset", name) for name in registry.names("dataset")}


@pytest.fixture(params=TREES)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    return TREES[request.param](tmp_path)


def test_every_layout_is_read_as_exact_train_ids(tree: Tree) -> None:
    samples = tree.reader.samples(tree.root, tree.split)
    assert [sample.id for sample in samples] == sorted(tree.labels)
    for sample in samples:
        image, label = tree.reader.read(sample)
        np.testing.assert_array_equal(label, tree.labels[sample.id])
        assert label.dtype == np.uint8
        np.testing.assert_array_equal(image, np.asarray(Image.open(sample.image)))


@pytest.mark.parametrize("name", ["gta5", "cityscapes", "synthia", "mapillary", "acdc"])
def test_a_converted_dataset_has_the_same_training_items(name: str, tmp_path: Path) -> None:
    """The scripts of mmsegmentation and DAFormer add labelTrainIds files; labelIds are removed if those are read."""
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
            seed=0,
        )
        for tree in (plain, converted)
    )  # fmt: skip
    for position in range(8):
        assert one[position]["id"] == other[position]["id"]
        for part in ("image", "label"):
            assert torch.equal(one[position][part], other[position][part])


def test_every_reader_is_tested_and_has_the_name_of_its_file() -> None:
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
    with pytest.raises(UserError, match=f"label is {width}x{height}, .*image is {width}x{height + 1};") as raised:
        tree.reader.read(sample)
    assert str(sample.label) in str(raised.value)


def test_unknown_id_is_named(tree: Tree) -> None:
    sample = tree.reader.samples(tree.root, tree.split)[0]
    if sample.label.stem.endswith("_L") or tree.reader.name == "labelmefacade":
        colors = np.array(Image.open(sample.label))
        colors[3, 4, :3] = (1, 2, 3)
        Image.fromarray(colors).save(sample.label)
        unknown = r"colour \(1, 2, 3\)"
    elif tree.reader.name == "synthia":
        ids = np.full(tree.labels[sample.id].shape, 3, np.uint8)
        ids[3, 4] = 200
        write_channels(sample.label, ids)
        unknown = "label id 200"
    else:
        ids = np.array(Image.open(sample.label))
        ids[3, 4] = 200
        write_label(sample.label, ids)
        unknown = "label id 200"
    with pytest.raises(UserError, match=unknown) as raised:
        tree.reader.read_label(sample)
    assert str(sample.label) in str(raised.value)


def test_missing_label_folder_error_names_the_folder_and_the_download(tree: Tree) -> None:
    folder = tree.reader.samples(tree.root, tree.split)[0].label.parent
    while folder.parent != tree.root:
        folder = folder.parent
    shutil.rmtree(folder)
    with pytest.raises(UserError) as raised:
        tree.reader.samples(tree.root, tree.split)
    assert str(tree.root) in str(raised.value)
    assert tree.reader.home in str(raised.value)


def test_error_without_any_pair_counts_the_files(tree: Tree) -> None:
    for sample in tree.reader.samples(tree.root, tree.split):
        sample.label.unlink()
        for other in sample.label.parent.glob(f"{sample.id.rsplit('/')[-1]}*"):
            other.unlink()
    with pytest.raises(UserError, match=r"images, 0 labels\)"):
        tree.reader.samples(tree.root, tree.split)


def test_orphans_are_errors_unless_the_release_has_some(tree: Tree) -> None:
    samples = tree.reader.samples(tree.root, tree.split)
    samples[0].image.unlink()
    if tree.reader.name == "bdd100k":
        assert tree.reader.samples(tree.root, tree.split) == samples[1:]
    else:
        with pytest.raises(UserError, match=r"1 file\(s\)") as raised:
            tree.reader.samples(tree.root, tree.split)
        assert str(samples[0].label) in str(raised.value)


@pytest.mark.parametrize("name", READERS)
def test_missing_root(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing") as raised:
        READERS[name].samples(tmp_path / "nowhere", READERS[name].splits[0])
    assert str(tmp_path / "nowhere") in str(raised.value)
    assert READERS[name].home in str(raised.value)


@pytest.mark.parametrize("name", READERS)
def test_error_on_a_misspelt_split_suggests_the_right_one(name: str, tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    (tmp_path / "splits.json").write_text('{"train": [], "val": []}')
    known = READERS[name].splits
    right, wrong = ("train", "trian") if "train" in known else (known[0], f"{known[0]}x")
    with pytest.raises(UserError, match=rf"no split '{wrong}'; did you mean '{right}'\?"):
        READERS[name].samples(tmp_path, wrong)
