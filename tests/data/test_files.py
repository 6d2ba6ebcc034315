"""Unusual files in a dataset: hidden files, files of the wrong kind, EXIF orientation, and shrunk labels."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.common.errors import UserError
from benchmark.data.decoding import read_ids, read_image
from benchmark.data.readers import camvid, cityscapes

from .trees import (
    TREES,
    chunk,
    segnet_tree,
    write_label,
)


def test_hidden_files_are_ignored(tmp_path: Path) -> None:
    tree = segnet_tree(tmp_path)
    for part in ("train", "trainannot"):
        (tmp_path / part / "._0006R0_f00930.png").write_bytes(b"resource fork")
    assert len(camvid.READER.samples(tmp_path, "*")) == len(tree.labels)


def test_label_file_instead_of_an_image(tmp_path: Path) -> None:
    for palette, kind in ((False, "grey"), (True, "palette")):
        write_label(tmp_path / "a.png", np.zeros((4, 4), np.uint8), palette=palette)
        with pytest.raises(UserError, match=rf"a\.png: .*colour.*{kind}"):
            read_image(tmp_path / "a.png")


def test_sixteen_bit_and_colour_files_are_not_labels(tmp_path: Path) -> None:
    tree = TREES["cityscapes"](tmp_path)
    sample = cityscapes.READER.samples(tmp_path, "val")[0]
    for pixels in (np.zeros((11, 23), np.uint16), np.zeros((11, 23, 3), np.uint8)):
        Image.fromarray(pixels).save(sample.label)
        with pytest.raises(UserError, match="8-bit image of label ids") as raised:
            tree.reader.read_label(sample)
        assert str(sample.label) in str(raised.value)


def test_implausible_size_in_a_damaged_header(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg")
    raw = (tmp_path / "a.jpg").read_bytes()
    size = struct.pack(">HH", 10, 20)
    assert size in raw
    (tmp_path / "a.jpg").write_bytes(raw.replace(size, b"\xff\xfe\xff\xfe"))
    with pytest.raises(UserError, match=r"a\.jpg: "):
        read_image(tmp_path / "a.jpg")


def test_exif_orientation_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (10, 20, 3)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_labels_with_fewer_than_8_bits_keep_their_ids(bits: int, tmp_path: Path) -> None:
    ids = np.arange(8) % 2**bits
    row = np.packbits(((ids[:, None] >> np.arange(bits)[::-1]) & 1).astype(np.uint8)).tobytes()
    header = struct.pack(">IIBBBBB", 8, 1, bits, 0, 0, 0, 0)
    body = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" + row)), chunk(b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(body))
    np.testing.assert_array_equal(read_ids(tmp_path / "a.png"), ids[None])
