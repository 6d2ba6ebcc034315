"""A truncated file in any domain stops a run before training."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.common.errors import UserError
from benchmark.data import broken
from benchmark.data.domains import Domain
from benchmark.data.samples import Sample
from benchmark.protocol import Split

from .trees import TREES, Tree, write_image

SPLITS = {"cityscapes": "val", "mapillary": "val", "bdd100k": "val"}  # PNG only, and JPEG with PNG


@pytest.fixture(params=SPLITS)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    return TREES[request.param](tmp_path / request.param)


def find(tree: Tree, limit: int | None = None) -> Domain:
    return Domain.find(Split(dataset=tree.reader.name, split=tree.split, limit=limit), tree.root.parent)


@pytest.mark.parametrize("part", ["image", "label"])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.7])
def test_a_truncated_file_is_named(part: str, fraction: float, tree: Tree) -> None:
    last = find(tree).samples[-1]
    if part == "image":
        write_image(last.image, (40, 60))
    path: Path = getattr(last, part)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(fraction * len(whole))])
    with pytest.raises(UserError, match="; restore") as raised:
        find(tree)
    assert str(path) in str(raised.value)
    assert len(find(tree, limit=1).samples) == 1, "a truncated file that is not used is no error"


def test_trailing_bytes_are_accepted_and_few_files_are_decoded(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = find(tree).samples
    for sample in samples:
        for path in (sample.image, sample.label):
            path.write_bytes(path.read_bytes() + b"more")
    assert find(tree).samples == samples
    read: list[Sample] = []
    monkeypatch.setattr(type(tree.reader), "read", lambda self, sample: read.append(sample))
    monkeypatch.setattr(broken, "READ", 1)
    find(tree)
    assert read == samples[:1]
