"""Well-known copies of data sets that are not read: the error says what was found and what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmark.common.errors import UserError
from benchmark.data.readers.acdc import READER as ACDC
from benchmark.data.readers.bdd100k import READER as BDD100K
from benchmark.data.readers.camvid import DIVIDED, PARTS
from benchmark.data.readers.camvid import READER as CAMVID
from benchmark.data.readers.cityscapes import READER as CITYSCAPES
from benchmark.data.readers.mapillary import READER as MAPILLARY
from benchmark.data.samples import Reader
from tests.data.trees import CAMVID_FRAMES, TREES, write_image


def refused(reader: Reader, root: Path, split: str = "val") -> str:
    with pytest.raises(UserError) as error:
        reader.samples(root, split)
    return str(error.value)


@pytest.mark.parametrize("name", ["bdd100k", "bdd100k-bare"])
def test_colormaps_of_bdd100k_are_not_taken_for_its_labels(name: str, tmp_path: Path) -> None:
    root = tmp_path / "bdd100k"
    TREES[name](root)
    (masks,) = root.rglob("masks")
    shutil.rmtree(masks)
    line = refused(BDD100K, root)
    assert f"{masks.with_name('colormaps')} exists: labels as colours, and sources disagree" in line
    assert "bdd100k_sem_seg_labels_trainval.zip" in line
    shutil.rmtree(next(root.rglob("images")))
    assert "colours" not in refused(BDD100K, root)


def test_colour_labels_of_2018_are_not_taken_for_ids(tmp_path: Path) -> None:
    TREES["bdd100k-2018"](tmp_path)
    for path in (tmp_path / "bdd100k/seg/labels/val").iterdir():
        path.rename(path.with_name(path.name.replace("_train_id", "_train_color")))
    line = refused(BDD100K, tmp_path)
    assert "has only labels as colours, such as 7d2f7975-e0c1c5a7_train_color.png" in line
    assert "no *_train_id.png" in line


@pytest.mark.parametrize(("reader", "name"), [(CITYSCAPES, "cityscapes"), (ACDC, "acdc")])
def test_only_the_colours_of_cityscapes_labels_are_there(reader: Reader, name: str, tmp_path: Path) -> None:
    TREES[name](tmp_path)
    for path in tmp_path.rglob("*.png"):
        if path.name.endswith("Ids.png"):
            path.unlink()
    assert "only labels as colours" in refused(reader, tmp_path)


@pytest.mark.parametrize("found", ["half", "cityscapes_trainIdLabel"])
def test_images_and_labels_converted_for_rein_are_named(found: str, tmp_path: Path) -> None:
    root = tmp_path / "mapillary"
    write_image(root / found / "val_img" / "a.jpg", (8, 8))
    line = refused(MAPILLARY, root)
    assert f"{root / found} exists: " in line
    assert "for Rein" in line


def test_frames_of_camvid_on_kaggle_belong_to_segnets_split(tmp_path: Path) -> None:
    TREES["camvid-kaggle"](tmp_path)
    for part in PARTS:
        samples, notes = CAMVID.survey(tmp_path, part)
        assert {sample.id for sample in samples} == {key for key, own in CAMVID_FRAMES.items() if own == part}
        assert notes == (DIVIDED,)
    shutil.rmtree(tmp_path / "val_labels")
    assert f"folder {tmp_path / 'val_labels'} is missing" in refused(CAMVID, tmp_path, "train")


def test_indexed_labels_of_camvid_are_named(tmp_path: Path) -> None:
    for key in CAMVID_FRAMES:
        write_image(tmp_path / "images" / f"{key}.png", (8, 8))
        write_image(tmp_path / "labels" / f"{key}_P.png", (8, 8))
    assert "ids of another list" in refused(CAMVID, tmp_path, "*")


def test_the_folder_of_the_data_set_is_the_place_to_unpack_whatever_is_inside(tmp_path: Path) -> None:
    root = tmp_path / "bdd100k"
    root.mkdir()
    assert refused(BDD100K, root).endswith(f" in {root}")


@pytest.mark.parametrize("name", ["bdd100k", "bdd100k-2018"])
def test_either_release_is_found_one_folder_too_deep(name: str, tmp_path: Path) -> None:
    root = tmp_path / "bdd100k"
    TREES[name](root / "bdd100k_seg")
    assert f"move what is in {root / 'bdd100k_seg'} one folder up" in refused(BDD100K, root)
