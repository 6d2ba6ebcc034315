"""Fast decoding of ordinary PNG files; all others are left to Pillow.

libspng takes less than half of Pillow's time for the photographs of GTA5 or Cityscapes, where decompression is nine
tenths of reading. It is used only where both decoders must agree: 8 bits per channel, grey or colour, no palette, no
transparent colour, not interlaced, not animated, and no damaged chunk.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.common import reading
from benchmark.data.labels import Bytes

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = struct.Struct(">II5B")
CHANNELS = {0: 1, 2: 3, 6: 4}
"""By PNG's colour type: grey, RGB and RGBA."""
ORDINARY = {
    b"IDAT", b"pHYs", b"tIME", b"tEXt", b"zTXt", b"iTXt", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"bKGD", b"eXIf", b"sBIT",
    b"hIST",
}  # fmt: skip
"""Chunks that leave the pixels as they are stored."""
START = len(SIGNATURE) + 8 + HEADER.size + 4


def read(path: Path) -> Bytes | None:
    """Return the pixels of a PNG, uint8 (H, W), (H, W, 3) or (H, W, 4); None if it is not an ordinary one.

    Raises:
        OSError: it cannot be read.
    """
    length = reading.require_regular(path).st_size
    with path.open("rb") as file:
        size = _size(file.read(START))
    if size is None:
        return None
    height, width, channels = size
    # Compressed pixels are never much larger than the pixels themselves; texts and profiles are small.
    if height * width > (Image.MAX_IMAGE_PIXELS or 0) or length > 2 * height * width * channels + (1 << 20):
        return None
    data = reading.read_bytes(path, length)
    if not _ordinary(data):
        return None
    from imagecodecs import SpngError, spng_decode  # here, since commands that read no image start faster without it

    try:
        pixels: Bytes = spng_decode(data)
    except SpngError:
        return None
    expected = (height, width) if channels == 1 else (height, width, channels)
    return pixels if pixels.shape == expected and pixels.dtype == np.uint8 else None


def _size(start: bytes) -> tuple[int, int, int] | None:
    """Return height, width and number of channels from the first bytes of a file; None if it is not ordinary."""
    if len(start) < START or not start.startswith(SIGNATURE + b"\0\0\0\rIHDR"):
        return None
    width, height, depth, colour, compression, filtering, interlace = HEADER.unpack_from(start, len(SIGNATURE) + 8)
    if depth != 8 or colour not in CHANNELS or compression or filtering or interlace or not width * height:
        return None
    return height, width, CHANNELS[colour]


def _ordinary(data: bytes) -> bool:
    """Return whether every chunk is intact and leaves the pixels as they are stored, up to the end of the picture."""
    view, place = memoryview(data), len(SIGNATURE)
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, end = data[place + 4 : place + 8], place + 8 + length
        if end + 4 > len(data) or zlib.crc32(view[place + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return False
        if kind == b"IEND":
            return True
        if kind not in ORDINARY and place > len(SIGNATURE):
            return False
        place = end + 4
    return False
