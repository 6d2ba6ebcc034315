"""What stands in the place of a data set's folders and files is named, and nothing but a regular file is opened."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark import protocol
from benchmark.common.errors import UserError
from benchmark.data import command, location
from benchmark.data.broken import refuse_broken
from benchmark.data.check import check_tree
from benchmark.data.decoding import read_image
from benchmark.data.readers.cityscapes import READER as CITYSCAPES
from tests.data.trees import TREES, write_image

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs FIFOs and links")
OBSTACLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "file": (lambda path: path.write_text("x"), "not a folder"),
    "FIFO": (lambda path: os.mkfifo(path), "not a folder"),
    "link to nothing": (lambda path: path.symlink_to("gone"), "a link to gone, which is not there"),
    "link to a device": (lambda path: path.symlink_to("/dev/null"), "not a folder"),
    "link to itself": (lambda path: path.symlink_to(path.name), "a link that points to itself"),
}


@posix
@pytest.mark.parametrize("where", ["", "gtFine", "gtFine/val"])
@pytest.mark.parametrize("what", OBSTACLES)
def test_what_is_in_the_place_of_a_folder_is_named(
    where: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "cityscapes"
    TREES["cityscapes"](root)
    shutil.rmtree(root / where)
    make, said = OBSTACLES[what]
    make(root / where)
    with pytest.raises(UserError) as error:
        CITYSCAPES.samples(root, "val")
    assert str(error.value).startswith(f"{root / where}: {said}")
    with pytest.raises(UserError, match="cityscapes"):
        command.check(None, tmp_path, partial=True)
    assert capsys.readouterr().out.count(f"{root / where}: {said}") == 1


@posix
def test_a_run_names_what_is_in_the_place_of_a_data_set(tmp_path: Path, tiny_protocol: Callable[..., Path]) -> None:
    (tmp_path / "camvid").symlink_to("gone")
    with pytest.raises(UserError, match="camvid: a file or a link to nothing"):
        location.require(protocol.load(str(tiny_protocol())), tmp_path)


@posix
@pytest.mark.parametrize("field", ["image", "label"])
@pytest.mark.parametrize("what", ["FIFO", "device"])
def test_what_is_not_a_regular_file_is_not_opened(field: str, what: str, tmp_path: Path) -> None:
    TREES["cityscapes"](tmp_path)
    samples = CITYSCAPES.samples(tmp_path, "val")
    path: Path = getattr(samples[0], field)
    path.unlink()
    if what == "FIFO":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    assert CITYSCAPES.samples(tmp_path, "val") == samples
    with pytest.raises(UserError, match=rf"{path.name}: .*a {what}, not a file"):
        refuse_broken(CITYSCAPES, samples)
    (problem,) = check_tree(CITYSCAPES, tmp_path, "val").problems
    assert problem.startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["@eaDir", "__MACOSX", "#recycle", "#snapshot", "System Volume Information"])
def test_folders_that_storage_devices_add_are_not_read(name: str, tmp_path: Path) -> None:
    TREES["cityscapes"](tmp_path)
    before = CITYSCAPES.samples(tmp_path, "val")
    write_image(tmp_path / "leftImg8bit" / "val" / "munster" / name / "munster_000001_000019_leftImg8bit.png", (8, 8))
    assert CITYSCAPES.samples(tmp_path, "val") == before


def test_the_fault_of_the_split_that_is_there_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "cityscapes"
    TREES["cityscapes"](root)
    shutil.rmtree(root / "gtFine")
    with pytest.raises(UserError, match="cityscapes val: files are missing"):
        command.check(None, tmp_path, partial=True)
    assert f"folder {root / 'gtFine' / 'val'} is missing" in capsys.readouterr().out


@pytest.mark.parametrize("start", [b"<!DOCTYPE html>", b"version https://git-lfs.github.com"])
def test_a_page_or_pointer_in_place_of_an_image_is_shown(start: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(start + b"\n" + bytes(100))
    with pytest.raises(UserError, match=r"a\.png: not an image .*(html|git-lfs)"):
        read_image(tmp_path / "a.png")
