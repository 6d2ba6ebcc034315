"""Files of downloaded sets are compared with the hashes of the release; those that differ are named."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmark.common.errors import UserError
from benchmark.data import command, contents, location, pinned
from benchmark.data.check import check_tree
from benchmark.data.get import listed
from benchmark.data.readers.camvid import READER as CAMVID
from benchmark.data.readers.idd_lite import READER as IDD_LITE
from benchmark.data.samples import Reader
from tests.data.conftest import SHARED
from tests.data.trees import TREES, segnet_tree

Pin = Callable[[Path], None]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(location.CACHE, str(tmp_path / "cache"))


@pytest.fixture
def pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pin]:
    """A function that makes the list of a folder's present files, in the form of the real ones."""
    monkeypatch.setattr(pinned, "LISTS", tmp_path / "lists")
    pinned.listed.cache_clear()

    def write(root: Path) -> None:
        digests = contents.digests(path for path in root.rglob("*.*") if path.suffix in (".png", ".jpg"))
        (tmp_path / "lists").mkdir()
        lines = [f"{digest.hex()}  {path.relative_to(root).as_posix()}\n" for path, digest in digests.items()]
        (tmp_path / "lists" / f"{root.name}.b2sum").write_text("".join(lines))

    yield write
    pinned.listed.cache_clear()


def test_a_changed_file_is_a_fault_and_named(pin: Pin, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "data" / "camvid"
    segnet_tree(root)
    pin(root)
    command.check(None, tmp_path / "data", partial=True)
    assert "16 files compared" in capsys.readouterr().out
    one, other = CAMVID.samples(root, "test")
    shutil.copy(other.label, one.label)  # a valid label of another frame, of another size
    shutil.copy(other.image, one.image)
    with pytest.raises(UserError, match="camvid"):
        command.check(None, tmp_path / "data", partial=True)
    out = capsys.readouterr().out
    assert "2 differ from the release:" in out
    assert all(out.count(f"    {path}\n") == 1 for path in (one.image, one.label))


def test_a_bad_file_is_not_listed_twice_and_a_file_of_another_name_differs(pin: Pin, tmp_path: Path) -> None:
    root = tmp_path / "camvid"
    segnet_tree(root)
    pin(root)
    one, other = CAMVID.samples(root, "test")
    one.image.write_bytes(one.image.read_bytes()[:100])
    for path in (other.image, other.label):
        shutil.copy(path, path.with_name("0001TP_009999.png"))
    report = check_tree(CAMVID, root, "test")
    assert report.pinned is not None
    assert [path.stem for path in report.pinned.differing] == ["0001TP_009999"] * 2
    assert report.text().count(str(one.image)) == 1


def test_an_archives_own_folder_is_no_difference(pin: Pin, tmp_path: Path) -> None:
    TREES["idd-lite"](tmp_path / "idd-lite")
    pin(tmp_path / "idd-lite")
    TREES["idd-lite-archive"](tmp_path / "other" / "idd-lite")
    found = check_tree(IDD_LITE, tmp_path / "other" / "idd-lite", "val").pinned
    assert found == pinned.Comparison(6, ())


@pytest.mark.parametrize("layout", ["camvid-kaggle", "camvid-official", "cityscapes"])
def test_another_layout_or_set_has_no_list(layout: str, tmp_path: Path) -> None:
    tree = TREES[layout](tmp_path)
    report = check_tree(tree.reader, tmp_path, tree.split)
    assert report.pinned is None
    assert report.whole
    assert "no list of hashes known" in report.text()


@pytest.mark.parametrize("name", ["camvid", "idd-lite", "labelmefacade"])
def test_the_lists_are_of_the_downloads(name: str) -> None:
    found = pinned.listed(name)
    assert name in listed()
    assert len(found) == {"camvid": 2 * 701, "idd-lite": 2 * (1403 + 204), "labelmefacade": 2 * 945}[name]
    assert {len(digest) for digest in found.values()} == {contents.BYTES}


@pytest.mark.skipif(not (SHARED / "data" / "camvid").is_dir(), reason="needs photographs in ../shared/data")
@pytest.mark.parametrize(("reader", "split"), [(CAMVID, "*"), (IDD_LITE, "val")])
def test_photographs_have_the_hashes_of_their_release(reader: Reader, split: str) -> None:
    root = SHARED / "data" / reader.name
    samples = reader.samples(root, split)
    assert pinned.compare(reader.name, root, samples) == pinned.Comparison(2 * len(samples), ())
