"""Base class of all dataset readers, and how they find files.

A reader finds the (image, label) pairs of an official download as unpacked, without conversion, and maps its labels
to train ids. Every error about a file is one line that names the file.
"""

from __future__ import annotations

import errno
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from benchmark.common import reading
from benchmark.common.errors import UserError, nearest
from benchmark.data.decoding import read_ids, read_image, unreachable
from benchmark.data.elsewhere import remedy
from benchmark.data.labels import CITYSCAPES, CITYSCAPES_COLORS, FACTS, Bytes, Color, LabelTable


class MissingError(UserError):
    """A folder or list of a split is not there, as if the split had not been downloaded."""


BY_PRODUCTS = frozenset({
    "__MACOSX", "@eaDir", "@tmp", "#recycle", "#snapshot", "~snapshot", "$RECYCLE.BIN", "System Volume Information",
    "lost+found",
})  # fmt: skip
"""Folders that systems and storage devices add; like hidden ones, they contain no frames."""
NONE: Mapping[str, str] = {}


@dataclass(frozen=True)
class Sample:
    """One labelled frame: its id within the dataset, its image file, its label file."""

    id: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Listing:
    """The files of one split by sample id, not yet paired.

    ``notes`` describes special cases that the reader handled, such as skipping a file known to be bad.
    """

    images: Mapping[str, Path]
    labels: Mapping[str, Path]
    notes: tuple[str, ...] = ()

    def pairs(self) -> list[Sample]:
        """Return the samples that have both files, sorted by id."""
        both = sorted(self.images.keys() & self.labels.keys())
        return [Sample(key, self.images[key], self.labels[key]) for key in both]

    def only(self, listed: Sequence[str], path: Path, home: str) -> Listing:
        """Return the files of the sample ids that the file ``path`` lists.

        Raises:
            UserError: neither file of a listed sample exists; the message says where to get it (``home``).
        """
        if gone := [key for key in listed if key not in self.images and key not in self.labels]:
            raise UserError(
                f"{path}: {len(gone)} of the {len(listed)} frames listed are missing, first {gone[0]!r}; "
                f"get them from {home}"
            )
        keep = set(listed)
        images, labels = (
            {key: file for key, file in found.items() if key in keep} for found in (self.images, self.labels)
        )
        return Listing(images, labels, self.notes)

    def orphans(self) -> list[Path]:
        """Return the images without a label and the labels without an image, sorted."""
        alone = self.images.keys() ^ self.labels.keys()
        return sorted(path for files in (self.images, self.labels) for key, path in files.items() if key in alone)


class SampleReader(Protocol):
    """Interface that reads the pixels of a sample: a dataset's reader, or a view of one."""

    def read(self, sample: Sample) -> tuple[Bytes, Bytes]:
        """Return image (H, W, 3) and train ids (H, W); see ``Reader.read``."""


class Reader(ABC):
    """One dataset in its official layout.

    Subclasses define where the files are (``listing``) and how labels are encoded (``table``); this class pairs,
    decodes and checks them. ``root`` is always the dataset's own folder.

    Attributes:
        name: name of the dataset and of the reader's file.
        home: where to get the dataset.
        licence: terms of use in a few words; empty if not known here.
        size: of the unpacked frames and labels on disk, about; empty if not known here.
        splits: names of its splits.
        classes: class names, by train id.
        colors: class colours (RGB), by train id.
        rendered: whether this project renders the dataset on first use; see :mod:`benchmark.data.location`.
        orphans: how many files of a split lack their partner in some official release; that many are left out.
        mappings: names of the mappings to train ids, the default first; empty if there is only one.
        mapping: the mapping in use; see ``using``.
    """

    name: ClassVar[str]
    home: ClassVar[str]
    licence: ClassVar[str] = ""
    size: ClassVar[str] = ""
    splits: ClassVar[tuple[str, ...]]
    classes: ClassVar[tuple[str, ...]] = CITYSCAPES
    colors: ClassVar[tuple[Color, ...]] = CITYSCAPES_COLORS
    orphans: ClassVar[int] = 0
    mappings: ClassVar[tuple[str, ...]] = ()
    mapping: str = ""
    rendered: ClassVar[bool] = False

    def released(self, split: str) -> int | None:
        """Return the number of labelled frames of ``split`` in the official release; None if unknown."""
        frames: dict[str, int] = FACTS["frames"].get(self.name, {})
        return frames.get(split)

    def using(self, mapping: str | None) -> Reader:
        """Return a reader that uses the label mapping ``mapping``; None keeps the default.

        Raises:
            UserError: the dataset has no such mapping.
        """
        if mapping is None:
            return self
        if mapping not in self.mappings:
            raise UserError(f"{self.name}: no mapping {mapping!r}; {nearest(mapping, self.mappings)}")
        chosen = copy(self)
        chosen.mapping = mapping
        return chosen

    @abstractmethod
    def listing(self, root: Path, split: str) -> Listing:
        """Return the image and label files of ``split``.

        Raises:
            UserError: a folder is missing, or the dataset has no such split.
        """

    @abstractmethod
    def table(self, label: Path) -> LabelTable:
        """Return the label table for the file ``label``."""

    def samples(self, root: Path, split: str) -> list[Sample]:
        """Return the labelled frames of ``split``, sorted by id.

        Raises:
            UserError: see ``survey``.
        """
        return self.survey(root, split)[0]

    def survey(self, root: Path, split: str) -> tuple[list[Sample], tuple[str, ...]]:
        """Return the labelled frames of ``split``, sorted by id, and notes on them.

        Raises:
            UserError: a folder is missing, there is no pair, or more than :attr:`orphans` files have no partner.
        """
        listing = self.listing(root, split)
        pairs, orphans = listing.pairs(), listing.orphans()
        if not pairs:
            fix = f"get it from {self.home}"
            if listing.images and listing.labels:
                first, other = (min(found.values()) for found in (listing.images, listing.labels))
                fix = f"their names do not match, such as {first} and {other}; put them as in {self.home}"
            raise UserError(
                f"{self.name}: no image with a label in split {split!r} under {root} "
                f"({len(listing.images)} images, {len(listing.labels)} labels); {fix}"
            )
        if len(orphans) > self.orphans:
            raise UserError(
                f"{self.name}: {len(orphans)} file(s) of split {split!r} without image or label, "
                f"first {orphans[0]}; add the missing files or remove these"
            )
        skipped = (f"{len(orphans)} frame(s) without image or label left out",) if orphans else ()
        return pairs, (*listing.notes, *skipped)

    def ids(self, label: Path) -> Bytes:
        """Return the ids stored in the file ``label``, uint8 (H, W). Override for encodings other than 8-bit PNG.

        Raises:
            UserError: see ``read_ids``.
        """
        return read_ids(label)

    def read_label(self, sample: Sample) -> Bytes:
        """Return the label as train ids, uint8 (H, W), 255 = ignore.

        Raises:
            UserError: the file cannot be read, is not a label image, or contains an unknown id.
        """
        ids, table = self.ids(sample.label), self.table(sample.label)
        if unknown := table.unknown(ids):
            raise UserError(
                f"{sample.label}: label id {', '.join(map(str, unknown[:5]))} does not exist in {self.name}; "
                f"restore the official file from {self.home}"
            )
        return table.train_ids(ids)

    def read(self, sample: Sample) -> tuple[Bytes, Bytes]:
        """Return image (H, W, 3) and train ids (H, W).

        Raises:
            UserError: either file is bad (see ``read_image``, ``read_label``), or their sizes differ.
        """
        image, label = read_image(sample.image), self.read_label(sample)
        if image.shape[:2] != label.shape:
            height, width = label.shape
            raise UserError(
                f"{sample.label}: label is {width}x{height}, but its image is {image.shape[1]}x{image.shape[0]}; "
                f"restore both from {self.home}"
            )
        return image, label


def known_split(split: str, reader: Reader) -> None:
    """Check that the reader's dataset has the split ``split``.

    Raises:
        UserError: it does not; the message suggests the nearest name.
    """
    if split not in reader.splits:
        raise UserError(f"{reader.name}: no split {split!r}; {nearest(split, reader.splits)}")


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
        UserError: a folder cannot be read, a link points to itself or to a folder above it, two files have the same
            key, or there are only files of another format or in a folder of the same name.
    """
    found: dict[str, Path] = {}
    match = re.compile(pattern, re.IGNORECASE).fullmatch  # some cameras and systems write .PNG and .JPG
    entries = _walk(where, "", frozenset()) if deep else _entries(where)[0]
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


def _walk(where: Path, prefix: str, above: frozenset[str]) -> list[tuple[str, Path]]:
    here = os.path.realpath(where)
    if here in above:
        raise UserError(f"{where}: a link to {here}, a folder above it; remove the link")
    files, folders = _entries(where)
    found = [(prefix + name, path) for name, path in files]
    for sub in folders:
        found += _walk(sub, f"{prefix}{sub.name}/", above | {here})
    return found
