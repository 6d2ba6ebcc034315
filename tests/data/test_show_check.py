"""Contact sheets and ``data check``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.common.errors import UserError
from benchmark.data.check import check_tree
from benchmark.data.readers import bdd100k, camvid, cityscapes, gta5
from benchmark.data.show import Row, contact_sheet, spread

from .trees import TREES, Tree, cityscapes_tree, segnet_tree, write_image


def row(tree: Tree) -> Row:
    reader = tree.reader
    return Row(reader.name, reader, reader.samples(tree.root, tree.split), reader.classes, reader.colors)


def test_sheet_shows_images_labels_and_class_colours_of_each_domain(tmp_path: Path) -> None:
    city, cam = cityscapes_tree(tmp_path / "city"), segnet_tree(tmp_path / "cam")
    rows = [row(tree) for tree in (city, cam)]
    sheet = np.asarray(contact_sheet(rows, columns=2, height=40))
    one, both = (contact_sheet(part, columns=2, height=40).height for part in (rows[:1], rows))
    assert sheet.shape[0] == both > one + 40
    colors = {tuple(color) for color in sheet.reshape(-1, 3).tolist()}
    for reader in (cityscapes.READER, camvid.READER):
        assert set(reader.colors) <= colors
    image = np.asarray(Image.open(rows[0].samples[0].image).resize((84, 40), Image.Resampling.BOX))
    np.testing.assert_array_equal(sheet[18:58, 6:90], image)


def test_resized_labels_have_no_mixed_colours(tmp_path: Path) -> None:
    tree = cityscapes_tree(tmp_path)
    sheet = np.asarray(contact_sheet([row(tree)], columns=1, height=5))
    # The label is 10 pixels wide, to the right of the image.
    label = {tuple(color) for color in sheet[18:23, 22:32].reshape(-1, 3).tolist()}
    assert len(label) > 5
    assert label <= {*tree.reader.colors, (0, 0, 0)}


@pytest.mark.parametrize(("count", "expected"), [(1, [0]), (2, [0, 9]), (4, [0, 3, 6, 9]), (30, list(range(10)))])
def test_spread(count: int, expected: list[int]) -> None:
    assert spread(list(range(10)), count) == expected  # type: ignore[arg-type]


def test_check_counts_files_pixels_and_classes(tmp_path: Path) -> None:
    tree = TREES["camvid-official"](tmp_path)
    ticks: list[tuple[int, int]] = []
    report = check_tree(tree.reader, tree.root, "*", tick=lambda done, total: ticks.append((done, total)))
    assert report.whole
    assert (report.images, report.labels, report.opened) == (8, 8, 8)
    assert report.sizes == {label.shape[::-1]: 1 for label in tree.labels.values()}
    everything = np.concatenate([label.ravel() for label in tree.labels.values()])
    np.testing.assert_array_equal(report.pixels, np.bincount(everything, minlength=256))
    assert report.frames[:11].tolist() == [8] * 11
    assert ticks == [(n, 8) for n in range(1, 9)]
    text = report.text()
    assert "camvid *: 8 images, 8 labels" in text
    assert "without image or label" not in text
    assert "Bicyclist" in text


def test_check_lists_all_faults_and_where_to_get_the_files(tmp_path: Path) -> None:
    tree = cityscapes_tree(tmp_path)
    first, second = tree.reader.samples(tree.root, "val")
    first.image.write_bytes(first.image.read_bytes()[:300])
    stray = second.image.with_name("munster_000009_000019_leftImg8bit.png")
    write_image(stray, (4, 4))
    report = check_tree(tree.reader, tree.root, "val")
    assert not report.whole
    assert report.orphans == (stray,)
    assert (report.images, report.labels, report.opened) == (3, 2, 2)
    text = report.text()
    for part in (str(first.image), str(stray), tree.reader.home, "1 bad", "1 without image or label"):
        assert part in text
    assert check_tree(tree.reader, tree.root, "val", limit=1).opened == 1


def test_check_accepts_orphans_if_the_release_has_some(tmp_path: Path) -> None:
    tree = TREES["bdd100k"](tmp_path)
    tree.reader.samples(tree.root, "val")[0].image.unlink()
    report = check_tree(tree.reader, tree.root, "val")
    assert len(report.orphans) == 1
    assert report.whole
    assert "1 without image or label (" in report.text()


def test_check_of_empty_folders_is_not_whole(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    report = check_tree(gta5.READER, tmp_path, "all")
    assert not report.whole
    assert gta5.READER.home in report.text()


def test_check_without_folders_names_the_download(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is missing; .*BDD100K"):
        check_tree(bdd100k.READER, tmp_path, "val")
