"""A changed pixel changes the hash of the contents; unchanged files are not read again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data import contents, location
from benchmark.data.domains import Domain
from benchmark.protocol import Split
from tests.conftest import draw


@pytest.fixture
def domains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Domain]:
    monkeypatch.setenv(location.CACHE, str(tmp_path / "cache"))
    draw(tmp_path / "data" / "camvid", "train", "0016E5", 3, 0)
    return {"source": Domain.find(Split(dataset="camvid", split="train"), tmp_path / "data")}


def change(path: Path) -> None:
    """Change one pixel but neither the size of the file nor its modification time."""
    before = path.stat()
    Image.fromarray(np.asarray(Image.open(path)) ^ np.uint8(1)).save(path)
    content = path.read_bytes()
    path.write_bytes(content.ljust(before.st_size, b"\0")[: before.st_size])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + (os.name != "posix")))


@pytest.mark.parametrize("which", ["image", "label"])
def test_a_changed_pixel_changes_the_hash(which: str, domains: dict[str, Domain]) -> None:
    before = contents.contents_hash(domains)
    assert contents.contents_hash(domains) == before
    change(getattr(domains["source"].samples[1], which))
    assert contents.contents_hash(domains) != before


def test_names_of_domains_and_samples_are_part_of_it(domains: dict[str, Domain]) -> None:
    assert contents.contents_hash({"other": domains["source"]}) != contents.contents_hash(domains)


def test_only_changed_files_are_read_again(domains: dict[str, Domain], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    digest = contents._digest

    def noted(path: Path) -> bytes:
        read.append(path)
        return digest(path)

    monkeypatch.setattr(contents, "_digest", noted)
    before = contents.contents_hash(domains)
    assert len(read) == 6
    read.clear()
    assert contents.contents_hash(domains) == before
    assert read == []
    change(domains["source"].samples[0].label)
    contents.contents_hash(domains)
    assert read == [domains["source"].samples[0].label]


def test_a_damaged_or_missing_cache_changes_nothing(domains: dict[str, Domain]) -> None:
    before = contents.contents_hash(domains)
    place = location.cache() / contents.FILE
    place.write_bytes(b"damaged" * 1000)
    assert contents.contents_hash(domains) == before
    place.unlink()
    place.mkdir()
    assert contents.contents_hash(domains) == before
