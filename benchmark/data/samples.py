"""Base class of all dataset readers.

A reader finds the (image, label) pairs of an official download as unpacked, without conversion, and maps its labels
to train ids. Every error about a file is one line that names the file.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from benchmark.common.errors import UserError, nearest
from benchmark.data import folders
from benchmark.data.decoding import read_ids, read_image
from benchmark.data.labels import CITYSCAPES, CITYSCAPES_COLORS, FACTS, Bytes, Color, LabelTable

MOVED = frozenset({
    "MissingError", "below", "cityscapes_labels", "files", "first_folder", "folder", "lines_of", "none_but_colors",
})  # fmt: skip
"""Names that are in :mod:`benchmark.data.folders` now."""


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


def __getattr__(name: str) -> Any:
    """Return a function that readers of earlier versions import from here, and warn."""
    if name not in MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"{__name__}.{name} has moved to {folders.__name__}.{name}", FutureWarning, stacklevel=2)
    return getattr(folders, name)
