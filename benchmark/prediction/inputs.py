"""The images to predict: files, folders and patterns, and the name of each one's output."""

from __future__ import annotations

import errno
import glob
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from benchmark.common import reading
from benchmark.common.errors import UserError
from benchmark.data.decoding import DAMAGE
from benchmark.data.folders import files
from benchmark.data.labels import Bytes

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
MOST = 1 << 26
"""Maximum number of pixels of an image: 8192 x 8192."""
MAGIC = frozenset("*?[")
Skip = Callable[[Path, str], None]
"""Called with a file that is not an image or cannot be read, and the reason."""


@dataclass(frozen=True)
class Picture:
    """An image file.

    Attributes:
        path: the file.
        name: its path below the folder that was given, with ``/``; of a file that was given, its name.
        pixels: its number of pixels.
    """

    path: Path
    name: str
    pixels: int

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return os.path.splitext(self.name)[0]


def find(given: Sequence[str], out: Path, skip: Skip) -> list[Picture]:
    """Return the images among files, in folders and of patterns (``photos/*.jpg``, ``photos/**``), each once.

    Hidden files, and files below ``out`` in a folder that contains it, are left out.

    Args:
        given: as on the command line.
        out: folder of the outputs.
        skip: is called for each file that is not an image.

    Raises:
        UserError: nothing exists with a name or matches a pattern, there is no file at all, a folder cannot be read, a
            file is below ``out``, or two images would have the same output.
    """
    inside = Path(os.path.realpath(out))
    found: dict[str, tuple[Path, str]] = {}
    for each in given:
        for path, name, listed in _files(each):
            real = os.path.realpath(path)
            if Path(real).is_relative_to(inside):
                if listed:
                    continue
                raise UserError(f"{path}: is below --out {out}; give another --out")
            found.setdefault(real, (path, name))
    if not found:
        raise UserError(f"{', '.join(given)}: no files; give images, or folders of images")
    pictures: dict[str, Picture] = {}
    for path, name in found.values():
        try:
            picture = Picture(path, name, _pixels(path))
        except UserError as error:
            skip(path, str(error))
            continue
        twin = pictures.setdefault(os.path.normcase(picture.stem), picture)
        if twin is not picture:
            raise UserError(
                f"{twin.path} and {path} would both be written to {picture.stem}.png; give the folder that contains "
                "both, or predict them into two folders"
            )
    return list(pictures.values())


def read(path: Path) -> Bytes:
    """Return an image as RGB, uint8 (H, W, 3), turned upright by its EXIF orientation as image viewers do.

    Raises:
        UserError: not a colour image, or damaged; the message is the reason, without the path.
    """
    with _opened(path) as picture:
        return np.array(ImageOps.exif_transpose(picture).convert("RGB"))


def _files(given: str) -> Iterator[tuple[Path, str, bool]]:
    """Yield each file, its name, and whether a folder or pattern listed it."""
    if os.path.isfile(given):
        yield Path(given), Path(given).name, False
    elif os.path.isdir(given):
        yield from ((path, name, True) for name, path in _below(Path(given)))
    elif os.path.lexists(given):
        raise UserError(f"{given}: neither a file nor a folder")
    elif MAGIC & set(given):
        base = Path(*_before_magic(Path(given)))
        matches = sorted(glob.glob(given, recursive=True))
        if not matches:
            raise UserError(f"{given}: matches no file")
        for match in matches:
            listed = [path for _, path in _below(Path(match))] if os.path.isdir(match) else [Path(match)]
            yield from ((path, path.relative_to(base).as_posix(), True) for path in listed)
    else:
        raise UserError(f"{given}: no such file or folder")


def _before_magic(pattern: Path) -> Iterator[str]:
    for part in pattern.parts[:-1]:
        if MAGIC & set(part):
            return
        yield part


def _below(folder: Path) -> list[tuple[str, Path]]:
    """Return name and path of each file below a folder, sorted, without hidden files and those of hidden folders."""
    listed = files(folder, r"(.+)", deep=True)
    return sorted((name, path) for name, path in listed.items() if not any(p[0] == "." for p in name.split("/")))


def _pixels(path: Path) -> int:
    """Return the number of pixels; reads only the header.

    Raises:
        UserError: as :func:`read`.
    """
    with _opened(path) as picture:
        return picture.width * picture.height


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image and turn every error about it into a reason."""
    try:
        if reading.require_regular(path).st_size == 0:
            raise UserError("empty file")
        with warnings.catch_warnings(), Image.open(path, formats=FORMATS) as picture:
            warnings.simplefilter("ignore")  # such as those about damaged EXIF data
            if fault := _unfit(picture):
                raise UserError(fault)
            yield picture
    except DAMAGE as error:
        raise _reason(error) from error


def _unfit(picture: Image.Image) -> str:
    """Return why an image is none to predict: grey and palette images are label files, except for grey JPEG files."""
    if picture.width * picture.height > MOST:
        return f"{picture.width}x{picture.height} pixels, more than {MOST}; scale it down"
    if picture.mode in ("RGB", "RGBA") or (picture.mode == "L" and picture.format in ("JPEG", "MPO")):
        return ""
    kinds = {"L": "a grey", "LA": "a grey", "P": "a palette", "1": "a black-and-white"}
    return f"{kinds.get(picture.mode, f'a {picture.mode!r}-mode')} image, not an 8-bit colour image"


def _reason(error: BaseException) -> UserError:
    if isinstance(error, UnidentifiedImageError):
        return UserError(f"not an image ({', '.join(FORMATS)})")
    if isinstance(error, FileNotFoundError):
        return UserError("no such file")
    if isinstance(error, PermissionError) or getattr(error, "errno", None) == errno.EACCES:
        return UserError("no permission to read it")
    if isinstance(error, OSError) and error.errno == errno.EINVAL and error.strerror:  # no regular file
        return UserError(error.strerror)
    return UserError(f"damaged ({' '.join(str(error).split())})")
