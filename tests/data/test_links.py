"""Links and permissions in a data set's tree: followed where they lead somewhere, named where they do not."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmark.common.errors import UserError
from benchmark.data.samples import read_image

from .trees import (
    Tree,
    cityscapes_tree,
)


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
