"""Links and permissions in a dataset: valid links are followed; circular links and unreadable files are errors."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmark.common.errors import UserError
from benchmark.data.decoding import read_image

from .trees import (
    Tree,
    cityscapes_tree,
)


@pytest.mark.parametrize(("link", "target"), [("loop", "."), ("loop", ".."), ("loop", "../../.."), ("a.png", "a.png")])
def test_a_circular_link_is_named(link: str, target: str, tmp_path: Path) -> None:
    tree = cityscapes_tree(tmp_path)
    place = tmp_path / "leftImg8bit" / "val" / "munster" / link
    place.symlink_to(target)
    with pytest.raises(UserError, match=rf"^{place}: a link .*; remove"):
        tree.reader.samples(tmp_path, "val")


@pytest.mark.parametrize("name", ["aachen", "zurich"])
def test_a_link_that_would_double_frames_is_named(name: str, tmp_path: Path) -> None:
    """Whether it is listed before or after the folder that it links to."""
    tree = cityscapes_tree(tmp_path)
    for part in ("leftImg8bit", "gtFine"):
        (tmp_path / part / "val" / name).symlink_to("munster")
    with pytest.raises(UserError, match=rf"val.{name}: a link to .*, the same folder as .*munster; remove"):
        tree.reader.samples(tmp_path, "val")


def test_valid_links_are_followed(tmp_path: Path) -> None:
    tree = cityscapes_tree(tmp_path / "disk")
    for part in ("leftImg8bit", "gtFine"):
        place = tmp_path / "linked" / part / "val"
        place.mkdir(parents=True)
        for city in (tmp_path / "disk" / part / "val").iterdir():
            (place / city.name).symlink_to(city)
    assert [s.id for s in tree.reader.samples(tmp_path / "linked", "val")] == sorted(tree.labels)


def test_a_file_that_links_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("a.png")
    with pytest.raises(UserError, match=r"a\.png: a link .*itself; remove"):
        read_image(tmp_path / "a.png")


@contextmanager
def unprivileged() -> Iterator[None]:
    """Drop superuser rights within the context, if there are any."""
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
def test_files_without_read_permission_are_named(where: str) -> None:
    with tempfile.TemporaryDirectory() as place:  # other users cannot read pytest's tmp_path
        os.chmod(place, 0o755)
        tree = cityscapes_tree(Path(place) / "cityscapes")
        samples = tree.reader.samples(tree.root, "val")
        closed = samples[1].image if where == "image" else tree.root / where
        closed.chmod(0o000)
        with unprivileged(), pytest.raises(UserError, match=r": no permission .*chmod") as raised:
            read_all(tree)
        assert str(closed) in str(raised.value)
        closed.chmod(0o755)
