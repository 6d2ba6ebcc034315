"""Checked reading of image and label files: every error is one line that names the file."""

from __future__ import annotations

import errno
import re
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from benchmark.common import reading
from benchmark.common.errors import UserError
from benchmark.data import fast_png
from benchmark.data.labels import Bytes, ColorTable

# Exceptions that Pillow's parsers and the codecs below them are known to raise on damaged files.
DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
MAX_ASPECT = 32
"""Largest aspect ratio accepted."""


def read_image(path: Path) -> Bytes:
    """Return the photograph at ``path`` (PNG or JPEG) as RGB, uint8 (H, W, 3).

    EXIF orientation is ignored on purpose: labels refer to the pixel grid as stored.

    Raises:
        UserError: the file is missing, empty, truncated, not PNG or JPEG, or not a colour image (a label file, 16
            bits, CMYK).
    """
    pixels = _quickly(path)
    if pixels is not None and pixels.ndim == 3:
        return np.ascontiguousarray(pixels[..., :3])
    picture = decode(path)
    if picture.mode not in ("RGB", "RGBA") and (picture.mode, picture.format) != ("L", "JPEG"):
        raise UserError(f"{path}: expected a colour image, found a {_kind(picture)} image; restore it from the dataset")
    return np.array(picture.convert("RGB"))


def read_ids(path: Path) -> Bytes:
    """Return the stored ids of the label PNG at ``path``, uint8 (H, W).

    The ids of a palette image are its indices, not its colours. Some tools shrink label files to grey images of fewer
    than 8 bits; Pillow scales their values to 0-255, which is undone here.

    Raises:
        UserError: the file is missing, empty, truncated, or not a single-channel PNG of up to 8 bits.
    """
    pixels = _quickly(path)
    if pixels is not None and pixels.ndim == 2:
        return pixels
    picture = decode(path, ("PNG",))
    if picture.mode not in ("L", "P", "1"):
        raise UserError(
            f"{path}: expected an 8-bit image of label ids, found a {_kind(picture)} image; restore it from the dataset"
        )
    shrunk = re.fullmatch(r"L;([24])", picture.info["stored_as"])
    bits = 1 if picture.mode == "1" else int(shrunk[1]) if shrunk else 8
    ids = np.array(picture.convert("L") if picture.mode == "1" else picture)
    return ids if bits == 8 else ids // np.uint8(255 // (2**bits - 1))


def read_painted(path: Path, table: ColorTable, name: str, home: str) -> Bytes:
    """Return the label picture at ``path``, whose classes are colours, as train ids, uint8 (H, W).

    ``name`` is the data set's, ``home`` where to get it.

    Raises:
        UserError: see ``read_image``; or a pixel has a colour that is not in the table.
    """
    ids, unknown = table.train_ids(read_image(path))
    if unknown is not None:
        raise UserError(f"{path}: colour {unknown} does not exist in {name}; restore the official file from {home}")
    return ids


def _quickly(path: Path) -> Bytes | None:
    """Return the pixels of an ordinary PNG of plausible size; None for any other file, which :func:`decode` reads."""
    try:
        pixels = fast_png.read(path)
    except OSError:
        return None
    if pixels is not None and max(pixels.shape[:2]) > MAX_ASPECT * min(pixels.shape[:2]):
        return None
    return pixels


def decode(path: Path, formats: tuple[str, ...] = ("PNG", "JPEG")) -> Image.Image:
    """Return the picture at ``path``, fully decoded; ``info["stored_as"]`` is Pillow's raw mode of the pixel data.

    Raises:
        UserError: the file is missing, empty, truncated, of another format, of an implausible size, or cannot be read.
    """
    try:
        if reading.require_regular(path).st_size == 0:
            raise UserError(f"{path}: file is empty (0 bytes); restore it from the dataset")
        with Image.open(path, formats=formats) as picture:
            if max(picture.size) > MAX_ASPECT * min(picture.size):  # resizing its short edge could exhaust the memory
                width, height = picture.size
                raise UserError(f"{path}: implausible size {width}x{height}; restore it from the dataset")
            raw = str(picture.tile[0].args) if picture.tile else ""
            picture.load()
    except DAMAGE as error:
        if isinstance(error, PermissionError) or getattr(error, "errno", None) == errno.ELOOP:
            raise unreachable(path, error) from error  # type: ignore[arg-type]
        if isinstance(error, UnidentifiedImageError):
            raise UserError(f"{path}: not an image ({_start(path)}); restore it from the dataset") from error
        said = error.strerror if isinstance(error, OSError) and error.errno == errno.EINVAL else str(error)
        reason = "no such file" if isinstance(error, FileNotFoundError) else " ".join(str(said).split())
        kinds = " or ".join(formats)
        raise UserError(f"{path}: cannot be read as {kinds} ({reason}); restore it from the dataset") from error
    picture.info["stored_as"] = raw
    return picture


def _start(path: Path) -> str:
    """Return how a file starts: that of a web page or of a Git LFS pointer says what went wrong."""
    with path.open("rb") as file:
        return f"it starts with {file.read(32)!r}"


def _kind(picture: Image.Image) -> str:
    names = {"L": "grey", "P": "palette", "1": "black-and-white", "RGB": "colour", "RGBA": "colour"}
    return names.get(picture.mode, f"{picture.mode!r}-mode")


def unreachable(path: Path, error: OSError) -> UserError:
    """Return the error for a file or folder that exists but cannot be read."""
    if isinstance(error, PermissionError):
        return UserError(f"{path}: no permission to read it; make it and the folders above it readable (chmod u+rX)")
    if error.errno == errno.ELOOP:
        return UserError(f"{path}: a link that points to itself; remove it, or put the file in its place")
    return UserError(f"{path}: cannot be read ({error.strerror or error}); check the disk")
