"""What is missing, moved, too much or oddly named in a data set is found and named, before it is trained on."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.data import command, streets
from benchmark.data.check import check_tree
from benchmark.data.readers.bdd100k import READER as BDD100K
from benchmark.data.readers.cityscapes import READER as CITYSCAPES
from benchmark.data.readers.gta5 import READER as GTA5
from benchmark.data.readers.idd_lite import READER as IDD_LITE
from tests.data.trees import TREES, write_image, write_label


def test_only_as_many_files_without_partner_as_a_release_has_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "bdd100k"
    TREES["bdd100k"](root)
    sample, *_ = BDD100K.samples(root, "val")
    monkeypatch.setattr(type(BDD100K), "released", lambda self, split: None)
    for index in range(BDD100K.orphans):
        shutil.copy(sample.image, sample.image.with_name(f"more{index}.jpg"))
    assert sample in BDD100K.samples(root, "val")
    assert check_tree(BDD100K, root, "val").whole
    shutil.copy(sample.image, sample.image.with_name("last.jpg"))
    with pytest.raises(UserError, match=r"7 file\(s\) of split 'val' without image or label"):
        BDD100K.samples(root, "val")
    assert not check_tree(BDD100K, root, "val").whole


def test_more_frames_than_released_are_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "gta5"
    TREES["gta5"](root)
    count = len(GTA5.listing(root, "all").images)
    for released, whole in ((count, True), (count - 1, False)):
        monkeypatch.setattr(type(GTA5), "released", lambda self, split, released=released: released)
        report = check_tree(GTA5, root, "all")
        assert report.whole is whole
        assert report.surplus == count - released


def test_a_split_of_which_half_is_there_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "cityscapes"
    TREES["cityscapes"](root)
    shutil.copytree(root / "leftImg8bit" / "val", root / "leftImg8bit" / "train")
    with pytest.raises(UserError, match="cityscapes train"):
        command.check(None, tmp_path, partial=True)
    printed = capsys.readouterr().out
    assert str(root / "gtFine" / "train") in printed
    assert "skipped" not in printed


def test_a_split_of_which_nothing_is_there_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TREES["cityscapes"](tmp_path / "cityscapes")
    command.check(None, tmp_path, partial=True)
    assert "cityscapes train: skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("inside", "moved"),
    [("leftImg8bit", "leftImg8bit/leftImg8bit"), (".", "cityscapes"), ("leftImg8bit", "part1/leftImg8bit")],
    ids=["a folder in itself", "the root in itself", "a part in a folder"],
)
def test_a_folder_one_level_too_deep_is_named_with_the_move(inside: str, moved: str, tmp_path: Path) -> None:
    root = tmp_path / "cityscapes"
    TREES["cityscapes"](root)
    aside = tmp_path / "aside"
    (root / inside).rename(aside)
    (root / moved).parent.mkdir(parents=True, exist_ok=True)
    aside.rename(root / moved)
    with pytest.raises(UserError) as error:
        CITYSCAPES.samples(root, "val")
    found = root / moved / ("leftImg8bit/val" if inside == "." else "val")
    assert f"{found} exists: move what is in" in str(error.value)
    assert "one folder up" in str(error.value)


def test_a_folder_of_another_projects_name_is_named(tmp_path: Path) -> None:
    TREES["gta5"](tmp_path / "gta")
    with pytest.raises(UserError, match=r"gta/images exists: if that is gta5, rename .*gta to gta5"):
        GTA5.samples(tmp_path / "gta5", "all")


@pytest.mark.parametrize(
    ("name", "part", "moved", "fix"),
    [
        ("gta5", "images", "images/images", "move what is in .*images/images one folder up"),
        ("mapillary", "validation/images", "validation/images/images", "move what is in .*images/images one folder up"),
        ("camvid-official", "LabeledApproved_full", "LabeledApproved_full/LabeledApproved_full", "one folder up"),
        ("gta5", "labels", "Labels", "rename .*Labels to labels"),
        ("cityscapes", "gtFine", "gtFine_trainvaltest", "rename .*gtFine_trainvaltest to gtFine"),
        ("cityscapes", "gtFine", "../gtFine", "if that is .*, move .*gtFine to "),
        ("cityscapes", "leftImg8bit/val", "leftImg8bit/val/val", "names do not match, such as .*val/val/.* and "),
    ],
)
def test_where_the_files_are_instead_is_named(name: str, part: str, moved: str, fix: str, tmp_path: Path) -> None:
    tree = TREES[name](tmp_path / "root" / name.partition("-")[0])
    aside = tmp_path / "aside"
    (tree.root / part).rename(aside)
    (tree.root / moved).parent.mkdir(parents=True, exist_ok=True)
    aside.rename(tree.root / moved)
    with pytest.raises(UserError, match=fix):
        tree.reader.samples(tree.root, tree.split)


@pytest.mark.parametrize(("name", "old", "new"), [("gta5", ".png", ".jpg"), ("bdd100k", ".jpg", ".jpeg")])
def test_converted_copies_are_named(name: str, old: str, new: str, tmp_path: Path) -> None:
    tree = TREES[name](tmp_path / name)
    for path in [path for path in tree.root.rglob(f"*{old}") if "images" in path.parts]:
        path.rename(path.with_suffix(new))
    with pytest.raises(UserError, match=rf"images.*\{new}: not a \{old} file as in the release"):
        tree.reader.samples(tree.root, tree.split)


def test_two_files_of_one_frame_are_refused(tmp_path: Path) -> None:
    TREES["gta5"](tmp_path)
    write_image(tmp_path / "images" / "00001.PNG", (8, 8))
    if len(list((tmp_path / "images").iterdir())) == 3:
        pytest.skip("this file system does not distinguish case")
    with pytest.raises(UserError, match=r"00001\.PNG and .*00001\.png: two files of one frame"):
        GTA5.samples(tmp_path, "all")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("name", ["\x1b[2J", "\udcff"], ids=["escape", "no UTF-8"])
def test_names_that_cannot_be_printed_are_escaped(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    TREES["cityscapes"](tmp_path / "cityscapes")
    write_image(tmp_path / "cityscapes" / "leftImg8bit" / "val" / name / "x_leftImg8bit.png", (8, 8))
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="cityscapes val"):
        command.check(None, tmp_path, partial=True)
    printed = capsys.readouterr().out
    assert repr(name).strip("'") in printed
    assert all(line.isprintable() for line in printed.splitlines())


def test_labels_without_any_class_are_a_fault(tmp_path: Path) -> None:
    TREES["cityscapes"](tmp_path)
    assert check_tree(CITYSCAPES, tmp_path, "val").whole
    for sample in CITYSCAPES.samples(tmp_path, "val"):
        write_label(sample.label, np.zeros(np.array(Image.open(sample.label)).shape, np.uint8))
    report = check_tree(CITYSCAPES, tmp_path, "val")
    assert not report.whole
    assert "no pixel of any label has a class" in report.text()


def test_another_data_set_is_not_taken_for_the_missing_one(tmp_path: Path) -> None:
    TREES["cityscapes"](tmp_path / "cityscapes")
    with pytest.raises(UserError, match=r"folder .*idd-lite/leftImg8bit is missing; unpack IDD-lite"):
        IDD_LITE.samples(tmp_path / "idd-lite", "val")


def test_a_missing_data_set_names_its_own_folder_as_the_place(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        CITYSCAPES.samples(tmp_path / "cityscapes", "val")
    assert str(error.value).endswith(f"in {tmp_path / 'cityscapes'}")


def test_upper_case_names_are_read_and_hidden_folders_are_not(tmp_path: Path) -> None:
    root = tmp_path / "cityscapes"
    TREES["cityscapes"](root)
    before = CITYSCAPES.samples(root, "val")
    first = before[0].image
    first.rename(first.with_suffix(".PNG"))
    write_image(root / "leftImg8bit" / "val" / ".snapshot" / "x_leftImg8bit.png", (8, 8))
    assert [sample.id for sample in CITYSCAPES.samples(root, "val")] == [sample.id for sample in before]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("cityscapes-train-ids", ".png", ".PNG"),
        ("acdc-flattened", ".png", ".PNG"),
        ("dark-zurich", "_labelTrainIds.png", "_labeltrainids.png"),
        ("gta5-train-ids", "_labelTrainIds.png", "_labeltrainids.png"),
        ("camvid-official", "_L.png", "_l.PNG"),
    ],
)
def test_the_encoding_of_labels_does_not_depend_on_case(name: str, old: str, new: str, tmp_path: Path) -> None:
    tree = TREES[name](tmp_path)
    for path in list(tmp_path.rglob(f"*{old}")):
        path.rename(path.with_name(path.name.replace(old, new)))
    samples = tree.reader.samples(tmp_path, tree.split)
    assert {sample.id for sample in samples} == set(tree.labels)
    for sample in samples:
        np.testing.assert_array_equal(tree.reader.read(sample)[1], tree.labels[sample.id])


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    root = tmp_path / "cityscapes"
    TREES["cityscapes"](root)
    image = CITYSCAPES.samples(root, "val")[0].image
    image.unlink()
    image.symlink_to("gone.png")
    with pytest.raises(UserError, match=rf"{image.name}: a link to gone\.png, which is not there"):
        CITYSCAPES.samples(root, "val")


def test_a_rendered_file_that_was_changed_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    part = replace(streets.find_part("streets", "snow/val"), count=1)
    monkeypatch.setattr(
        command, "_present", lambda root: [("snow", registry.find("dataset", "streets"), "snow/val", 1)]
    )
    monkeypatch.setattr(streets, "find_part", lambda dataset, split: part)
    streets.prepare(tmp_path, [part])
    command.check(None, tmp_path, partial=True)
    assert "differ" not in capsys.readouterr().out
    label = next((tmp_path / part.path / "labels").iterdir())
    ids = np.array(Image.open(label))
    ids[0, 0] = 7
    Image.fromarray(ids).save(label)
    with pytest.raises(UserError, match="snow"):
        command.check(None, tmp_path, partial=True)
    assert "files differ from what was rendered" in capsys.readouterr().out
