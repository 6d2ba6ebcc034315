"""How readers find the files of a dataset. Every error about a file or folder is one line that names it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.common import reading
from benchmark.common.errors import UserError
from benchmark.data.decoding import unreachable
from benchmark.data.elsewhere import remedy

if TYPE_CHECKING:
    from benchmark.data.samples import Reader

BY_PRODUCTS = frozenset({
    "__MACOSX", "@eaDir", "@tmp", "#recycle", "#snapshot", "~snapshot", "$RECYCLE.BIN", "System Volume Information",
    "lost+found",
})  # fmt: skip
"""Folders that systems and storage devices add; like hidden ones, they contain no frames."""
NONE: Mapping[str, str] = {}


class MissingError(UserError):
    """A folder or list of a split is not there, as if the split had not been downloaded."""


def lines_of(path: Path, reader: Reader) -> list[str]:
    """Return the lines of a split's list of frames, without white space around them and without empty ones.

    Raises:
        UserError: the list is missing or cannot be read; the message says where to get it.
    """
    try:
        lines = reading.read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{reader.name}: {path}, the list of the split's frames, cannot be read ({error}); "
            f"restore it from {reader.home}"
        ) from None
    listed = [line.strip() for line in lines if line.strip()]
    if not listed:
        raise UserError(
            f"{reader.name}: {path}, the list of the split's frames, is empty; restore it from {reader.home}"
        )
    return listed


def folder(path: Path, reader: Reader) -> Path:
    """Return ``path`` if it is a folder.

    Raises:
        MissingError: there is no such folder; the message says where it may be instead, or where to get the dataset.
        UserError: there is no permission to read it.
    """
    return first_folder((path,), reader)


def files(where: Path, pattern: str, *, deep: bool = False) -> dict[str, Path]:
    """Return the files in ``where`` whose whole name matches ``pattern``, by the pattern's first group.

    With ``deep``, subfolders are searched too, and each key is preceded by the subfolder's path.

    Raises:
        UserError: a folder cannot be read, a link points to a folder that is read anyway, two files have the same
            key, or there are only files of another format or in a folder of the same name.
    """
    found: dict[str, Path] = {}
    match = re.compile(pattern, re.IGNORECASE).fullmatch  # some cameras and systems write .PNG and .JPG
    entries = _walk(where) if deep else _entries(where)[0]
    for name, path in entries:
        head, _, tail = name.rpartition("/")
        if hit := match(tail):
            key = f"{head}/{hit[1]}" if head else hit[1]
            if (other := found.setdefault(key, path)) is not path:
                raise UserError(f"{min(other, path)} and {max(other, path)}: two files of one frame; remove one")
    if not found:
        _require_none_elsewhere(where, pattern, entries, deep=deep)
    return found


def _require_none_elsewhere(where: Path, pattern: str, entries: list[tuple[str, Path]], *, deep: bool) -> None:
    """Check that a folder without the files sought does not have them converted, or in itself as some archives do.

    Raises:
        UserError: it does.
    """
    head, dot, suffix = pattern.rpartition(r"\.")
    if dot and suffix in ("png", "jpg"):
        other = re.compile(rf"{head}\.(?:png|jpe?g|webp|bmp|tiff?)", re.IGNORECASE).fullmatch
        if path := min((path for name, path in entries if other(name.rpartition("/")[2])), default=None):
            raise UserError(f"{path}: not a .{suffix} file as in the release; converted copies are not read")
    inner = where / where.name
    if not deep and os.path.isdir(inner) and files(inner, pattern):
        raise UserError(f"{where}: its files are in {inner}: move what is in {inner} one folder up")


def cityscapes_labels(where: Path, kind: str, reader: Reader) -> dict[str, Path]:
    """Return the label files below ``where`` that are named as in Cityscapes, by key.

    The file of a key is ``<key>_<kind>_labelIds.png`` or, if that is missing, ``<key>_<kind>_labelTrainIds.png``.

    Raises:
        UserError: there are only files whose classes are colours.
    """
    train_ids, ids = (files(where, rf"(.+)_{kind}_{name}\.png", deep=True) for name in ("labelTrainIds", "labelIds"))
    return train_ids | ids or none_but_colors(where, rf"(.+)_{kind}_(?:color|labelColor)\.png", "labelIds", reader)


def none_but_colors(where: Path, pattern: str, wanted: str, reader: Reader) -> dict[str, Path]:
    """Return no labels, for a folder without any that can be read.

    Args:
        where: the folder.
        pattern: matches the names of label files whose classes are colours.
        wanted: suffix of the names of the files to read.
        reader: of the data set.

    Raises:
        UserError: there are such files.
    """
    if pictures := files(where, pattern, deep=True):
        raise UserError(
            f"{reader.name}: {where} has only labels as colours, such as {min(pictures.values()).name}, and no "
            f"*{wanted}.png, which the same download contains: unpack {reader.home} again"
        )
    return {}


def below(part: str, found: dict[str, Path]) -> dict[str, Path]:
    """Return ``found`` with each key preceded by ``part`` and a slash."""
    return {f"{part}/{key}": path for key, path in found.items()}


def first_folder(candidates: Iterable[Path], reader: Reader, copies: Mapping[str, str] = NONE) -> Path:
    """Return the first folder of ``candidates`` that exists, for layouts that differ between releases.

    ``copies`` are folders of well-known copies, relative to the dataset's, that cannot take its place, each with what
    to do instead.

    Raises:
        MissingError: none exists; the message names the first, and see ``folder``.
        UserError: there is no permission to read one.
    """
    paths = list(candidates)
    if found := next((path for path in paths if _is_folder(path)), None):
        return found
    _require_no_obstacle(paths[0])
    advice = remedy(paths, reader.name, reader.home, copies)
    raise MissingError(f"{reader.name}: folder {paths[0]} is missing; {advice}")


def _require_no_obstacle(path: Path) -> None:
    """Check that what exists of a missing folder's path are folders.

    Raises:
        UserError: it has a file, a link to nothing or a link in a circle on it.
    """
    found = next(place for place in (path, *path.parents) if os.path.lexists(place))
    if os.path.islink(found) and not os.path.exists(found):
        raise _dead_link(found)
    if not _is_folder(found):
        raise UserError(f"{found}: not a folder; put the folder of that name in its place")


def _dead_link(path: str | Path) -> UserError:
    """Return the error for a link to nothing or in a circle."""
    try:
        os.stat(path)
    except OSError as error:
        if error.errno != errno.ENOENT:
            return unreachable(Path(path), error)
    return UserError(f"{path}: a link to {os.readlink(path)}, which is not there; mend it")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise unreachable(path, error) from None


def _entries(where: Path) -> tuple[list[tuple[str, Path]], list[Path]]:
    """Return the files in a folder, by name, and the folders in it."""
    files, folders = [], []
    entry: os.DirEntry[str] | None = None
    try:
        with os.scandir(where) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name in BY_PRODUCTS:  # ._name.png, .snapshot/, .Trash/
                    continue
                if entry.is_dir():
                    folders.append(Path(entry.path))
                elif entry.is_symlink() and not os.path.exists(entry.path):
                    raise _dead_link(entry.path)
                else:  # a FIFO or device, too: it is named when it is read
                    files.append((entry.name, Path(entry.path)))
    except OSError as error:
        raise unreachable(where if entry is None else Path(entry.path), error) from None
    return files, sorted(folders)


def _walk(where: Path) -> list[tuple[str, Path]]:
    """Return the files in a folder and below it, each with its path below the folder."""
    found: list[tuple[str, Path]] = []
    pending, seen = [(where, "")], {os.path.realpath(where): where}
    while pending:
        folder, prefix = pending.pop(0)
        files, folders = _entries(folder)
        found += [(prefix + name, path) for name, path in files]
        for sub in folders:
            other = seen.setdefault(os.path.realpath(sub), sub)
            if other is not sub:
                raise _read_twice(sub, other, where)
            pending.append((sub, f"{prefix}{sub.name}/"))
    return found


def _read_twice(one: Path, other: Path, where: Path) -> UserError:
    """Return the error for two paths below ``where`` of the same folder, which names the link that makes it so."""
    on_the_way = [(end, place) for end in (one, other) for place in (end, *end.parents) if place.is_relative_to(where)]
    end, link = next(((end, place) for end, place in on_the_way if place != where and place.is_symlink()), (one, one))
    target = os.path.realpath(link)
    above = Path(os.path.realpath(link.parent)).is_relative_to(target)
    what = "a folder above it" if above else f"the same folder as {other if end is one else one}"
    return UserError(f"{link}: a link to {target}, {what}; remove the link")
