"""Arbitrary image files as images or labels: either the pixels as stored or a one-line error that names the file."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmark.data.decoding import read_ids, read_image
from benchmark.data.loader import EvaluationSet, TrainingSet
from benchmark.data.views import Halved
from benchmark.protocol import Augmentation
from tests.data.trees import TREES, Tree, chunk
from tests.fuzz.given import damaged, outcome

pytestmark = pytest.mark.slow

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F")
FORMATS = ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM", "MPO", "TGA", "ICO")
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40)) | st.sampled_from([(1, 1), (1, 33), (2000, 1), (64, 2)])


@st.composite
def pictures(draw: st.DrawFn) -> tuple[bytes, tuple[int, int]]:
    """Draw an image file and its (width, height), in any combination of mode and format that Pillow can write."""
    mode, kind, size = (
        draw(st.sampled_from(MODES)),
        draw(st.sampled_from(FORMATS[:2]) | st.sampled_from(FORMATS)),
        draw(SIZES),
    )
    levels = draw(st.sampled_from([2, 4, 16, 256]))
    noise = np.random.default_rng(draw(st.integers(0, 3))).integers(0, levels, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(noise[..., 0]) if mode in ("1", "L", "P") else Image.fromarray(noise)
    exif = Image.Exif()
    exif[0x0112] = draw(st.integers(0, 9))  # orientation
    options = {"bits": draw(st.sampled_from([1, 2, 4, 8]))} if mode == "P" else {}
    buffer = io.BytesIO()
    try:
        picture.convert(mode).save(buffer, kind, exif=exif, **options)
    except (OSError, ValueError, KeyError, SystemError):
        picture.convert("RGB").save(buffer, "PNG", exif=exif)
    return buffer.getvalue(), size


@cache
def trees(root: Path) -> list[Tree]:
    """One dataset for each label format: grey ids, palette, palette with a class list, 16 bits, colours."""
    names = ("camvid-segnet", "gta5", "mapillary", "synthia", "camvid-official")
    return [TREES[name](root / name) for name in names]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trees")


def read(tree: Tree, which: str, content: bytes) -> bool:
    """Replace a sample's image or label by ``content``; return whether all readers of samples accept it."""
    sample = tree.reader.samples(tree.root, tree.split)[0]
    path: Path = getattr(sample, which)
    whole = path.read_bytes()
    path.write_bytes(content)
    try:
        found = outcome(lambda: tree.reader.read(sample))
        if isinstance(found, str):
            assert str(path) in found or str(sample.label) in found, found
            return False
        image, label = found
        assert image.shape == (*label.shape, 3)
        assert set(np.unique(label)) <= {*range(len(tree.reader.classes)), 255}
        for reader in (tree.reader, Halved(tree.reader)):
            TrainingSet([sample], reader, Augmentation(short_edge=(8, 16), crop=8), seed=0)[0]
            EvaluationSet([sample], reader, test_size=(20, 10))[0]
        return True
    finally:
        path.write_bytes(whole)


@given(number=st.integers(0, 4), which=st.sampled_from(["image", "label"]), data=st.data())
def test_a_damaged_file(root: Path, number: int, which: str, data: st.DataObject) -> None:
    tree = trees(root)[number]
    path: Path = getattr(tree.reader.samples(tree.root, tree.split)[0], which)
    read(tree, which, data.draw(damaged(path.read_bytes())))


@given(number=st.integers(0, 4), which=st.sampled_from(["image", "label"]), picture=pictures())
def test_an_image_of_any_kind(root: Path, number: int, which: str, picture: tuple[bytes, tuple[int, int]]) -> None:
    read(trees(root)[number], which, picture[0])


@given(picture=pictures())
def test_image_size_is_the_stored_size(tmp_path: Path, picture: tuple[bytes, tuple[int, int]]) -> None:
    """EXIF orientation is ignored, so image and label stay aligned."""
    path = tmp_path / "x.png"
    path.write_bytes(picture[0])
    for reader in (read_image, read_ids):
        found = outcome(lambda: reader(path))  # noqa: B023
        assert isinstance(found, str) or found.shape[:2] == picture[1][::-1]
        assert not isinstance(found, str) or str(path) in found


@pytest.mark.parametrize("size", [(1, 33), (3000, 90)])
def test_an_image_with_an_extreme_aspect_ratio_is_refused(root: Path, size: tuple[int, int]) -> None:
    """Resized to a short edge of 512 pixels, it could need gigabytes."""
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "PNG")
    assert not read(trees(root)[0], "image", buffer.getvalue())


@pytest.mark.parametrize("size", [(60000, 60000), (2**31 - 1, 1), (1, 2**31 - 1), (16000, 16000)])
@pytest.mark.parametrize("reader", [read_image, read_ids])
def test_a_decompression_bomb_is_refused_before_decoding(
    tmp_path: Path, size: tuple[int, int], reader: Callable[[Path], object]
) -> None:
    """A file of a few hundred bytes declares gigabytes of pixels."""
    header = struct.pack(">IIBBBBB", *size, 8, 0 if reader is read_ids else 2, 0, 0, 0)
    body = zlib.compress(bytes(10**5))
    path = tmp_path / "huge.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    tracemalloc.start()
    line = outcome(lambda: reader(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(line, str)
    assert "huge.png" in line
    assert peak < 10**7
