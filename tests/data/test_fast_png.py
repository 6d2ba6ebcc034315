"""Fast decoding of PNG: the same pixels as Pillow's, or nothing."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from benchmark.common.errors import UserError
from benchmark.data import decoding, fast_png

RNG = np.random.default_rng(0)
SHAPE = (7, 5)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def picture(mode: str, shape: tuple[int, int] = SHAPE) -> Image.Image:
    channels = {"L": (), "P": (), "1": (), "LA": (2,), "RGB": (3,), "RGBA": (4,)}[mode]
    pixels = RNG.integers(0, 2 if mode == "1" else 256, (*shape, *channels), dtype=np.uint8)
    if mode == "1":
        return Image.fromarray(pixels * 255).convert("1")
    made = Image.fromarray(pixels, mode="LA") if mode == "LA" else Image.fromarray(pixels)
    if mode == "P":
        made.putpalette([(7 * value + 3) % 256 for value in range(768)])
    return made


def saved(made: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    made.save(file, "PNG", **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def built(*chunks: tuple[bytes, bytes], depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    """Return a PNG of 5 by 7 pixels with these chunks after its header."""
    header = struct.pack(">II5B", SHAPE[1], SHAPE[0], depth, colour, 0, 0, interlace)
    return SIGNATURE + b"".join(chunk(*each) for each in ((b"IHDR", header), *chunks, (b"IEND", b"")))


def idat(channels: int = 3, depth: int = 8) -> tuple[bytes, bytes]:
    width = SHAPE[1] * channels * depth // 8
    rows = RNG.integers(0, 256, (SHAPE[0], 1 + width), dtype=np.uint8)
    rows[:, 0] = np.arange(SHAPE[0]) % 5  # each of PNG's filters
    return b"IDAT", zlib.compress(rows.tobytes())


def text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "x" * 500)
    return info


ONE = idat()
HALF = len(ONE[1]) // 2
FAST: dict[str, Callable[[], bytes]] = {
    "grey": lambda: saved(picture("L")),
    "colour": lambda: saved(picture("RGB")),
    "colour with alpha": lambda: saved(picture("RGBA")),
    "one pixel": lambda: saved(picture("RGB", (1, 1))),
    "text": lambda: saved(picture("RGB"), pnginfo=text()),
    "profile": lambda: saved(picture("RGB"), icc_profile=b"p" * 300),
    "resolution": lambda: saved(picture("L"), dpi=(72, 72)),
    "gamma": lambda: built((b"gAMA", struct.pack(">I", 22222)), ONE),
    "every filter": lambda: built(ONE),
    "two parts": lambda: built((b"IDAT", ONE[1][:HALF]), (b"IDAT", ONE[1][HALF:])),
    "more behind the end": lambda: saved(picture("RGB")) + b"more",
}
CAREFUL: dict[str, Callable[[], bytes]] = {
    "palette": lambda: saved(picture("P")),
    "black and white": lambda: saved(picture("1")),
    "grey with alpha": lambda: saved(picture("LA")),
    "16 bits": lambda: built(idat(depth=16), depth=16),
    "transparent colour": lambda: built((b"tRNS", struct.pack(">3H", 1, 2, 3)), ONE),
    "interlaced": lambda: built(ONE, interlace=1),
    "animated": lambda: saved(picture("RGB"), save_all=True, append_images=[picture("RGB")]),
    "unknown chunk": lambda: built((b"quUx", b"?"), ONE),
    "no end": lambda: saved(picture("RGB"))[:-12],
    "no pixels": built,
    "too few pixels": lambda: built((b"IDAT", zlib.compress(b"\0" * 20))),
    "a wrong checksum of the pixels": lambda: built((b"IDAT", ONE[1][:-1] + b"?")),
    "not compressed": lambda: built((b"IDAT", b"pixels")),
    "jpeg": lambda: b"\xff\xd8\xff\xe0" + bytes(100),
    "empty": lambda: b"",
}


def outcome(read: Callable[[Path], np.ndarray], path: Path) -> tuple[object, ...]:
    """Return what a reader makes of a file: pixels, or the error."""
    try:
        pixels = read(path)
    except UserError as error:
        return ("refused", str(error))
    return (pixels.shape, pixels.dtype, pixels.tobytes())


def compare(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both readers return or refuse the same, with and without the fast decoder."""
    for read in (decoding.read_image, decoding.read_ids):
        quick = outcome(read, path)
        with monkeypatch.context() as patch:
            patch.setattr(fast_png, "read", lambda path: None)
            assert quick == outcome(read, path)


@pytest.mark.parametrize("name", [*FAST, *CAREFUL])
def test_pixels_and_errors_are_those_of_the_careful_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes((FAST | CAREFUL)[name]())
    assert (fast_png.read(path) is not None) == (name in FAST)
    compare(path, monkeypatch)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_damaged_file_is_treated_as_before(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = saved(picture(mode, (3, 4)), dpi=(72, 72))
    path = tmp_path / "a.png"
    for place in range(len(whole)):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]):
            path.write_bytes(damaged)
            compare(path, monkeypatch)


def test_an_implausible_shape_is_left_to_the_careful_path(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(saved(picture("RGB", (1, 33))))
    with pytest.raises(UserError, match="implausible size 33x1"):
        decoding.read_image(path)
    path.write_bytes(saved(picture("RGB", (1, 32))))
    assert decoding.read_image(path).shape == (1, 32, 3)


def test_a_file_much_larger_than_its_pixels_is_not_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(saved(picture("RGB")) + bytes(2 << 20))
    assert fast_png.read(path) is None
    compare(path, monkeypatch)
