"""Check a dataset on disk: decode every file, and count files, classes and faults."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.common.errors import UserError, printable
from benchmark.data.labels import IGNORE
from benchmark.data.pinned import Comparison, compare
from benchmark.data.samples import Reader, Sample

SHOWN = 10


@dataclass(frozen=True)
class Report:
    """Contents of one split.

    Attributes:
        dataset, split, root: dataset, split and folder that were checked.
        home: where to get the dataset.
        images, labels: numbers of files found.
        opened: number of pairs decoded, bad ones included.
        orphans: images without a label and labels without an image.
        tolerated: number of orphans that an official release has, too.
        released: number of frames in the official release; None if unknown.
        notes: special cases that the reader handled.
        pinned: comparison of the files of good pairs with the hashes of the release; None if no list of them is known.
        problems: one line per bad pair, naming the file.
        sizes: number of images of each (width, height).
        classes: class names, by train id.
        pixels: int64 (256,), number of pixels by train id; entry 255 counts ignored pixels.
        frames: int64 (256,), number of images that contain each train id.
    """

    dataset: str
    split: str
    root: Path
    home: str
    images: int
    labels: int
    opened: int
    orphans: tuple[Path, ...]
    tolerated: int
    released: int | None
    notes: tuple[str, ...]
    pinned: Comparison | None
    problems: tuple[str, ...]
    sizes: dict[tuple[int, int], int]
    classes: tuple[str, ...]
    pixels: NDArray[np.int64]
    frames: NDArray[np.int64]

    @property
    def whole(self) -> bool:
        """Whether there are pairs, none bad or changed, and no more frames or orphans than in an official release.

        A run needs a pixel with a class, too.
        """
        good = not self.problems and not (self.pinned and self.pinned.differing) and self.labelled
        return self.opened > 0 and good and len(self.orphans) <= self.tolerated and not self.surplus

    @property
    def labelled(self) -> bool:
        """Whether some pixel has a class."""
        return bool(self.pixels[:IGNORE].any())

    @property
    def surplus(self) -> int:
        """The number of images beyond those of the official release."""
        return 0 if self.released is None else max(self.images - self.released, 0)

    def missing(self, limit: int | None = None) -> int:
        """Return the number of frames missing from the official release, or from its first ``limit`` frames."""
        released = self.images if self.released is None else self.released
        return max(min(released, limit or released) - self.images, 0)

    def text(self) -> str:
        """Return the report as text."""
        official = "" if self.released in (None, self.images) else f" (the official release has {self.released})"
        lines = [f"{self.dataset} {self.split}: {self.images} images, {self.labels} labels in {self.root}{official}"]
        lines += [f"  {note}" for note in self.notes]
        known = 0 < len(self.orphans) <= self.tolerated
        note = " (as in an official release)" if known else ""
        if self.surplus:
            lines.append(f"  {self.surplus} images more than the official release; remove what does not belong to it")
        lines += _listed(f"without image or label{note}", [str(path) for path in self.orphans])
        lines += _listed("bad", list(self.problems))
        if self.sizes and not self.labelled:
            lines.append("  no pixel of any label has a class")
        if self.pinned is None:
            lines.append("  no list of hashes known")
        else:
            lines.append(f"  {self.pinned.compared} files compared with the hashes of the release")
            lines += _listed("differ from the release", [str(path) for path in self.pinned.differing])
        if not self.whole or self.missing():
            lines.append(f"  get missing or damaged files from {self.home}")
        sizes = ", ".join(f"{width}x{height} ({count})" for (width, height), count in self.sizes.items())
        lines.append(f"  {self.opened} pairs opened; sizes: {sizes or 'none'}")
        total = max(int(self.pixels.sum()), 1)
        for name, index in [*((name, i) for i, name in enumerate(self.classes)), ("(ignored)", 255)]:
            percent = 100 * self.pixels[index] / total
            lines.append(f"  {name:>14}  {percent:7.3f} % of pixels  in {self.frames[index]} images")
        return "\n".join(map(printable, lines))


@dataclass(frozen=True)
class _Frame:
    size: tuple[int, int]
    counts: NDArray[np.int64]


def check_tree(
    reader: Reader,
    root: Path,
    split: str,
    *,
    limit: int | None = None,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Decode every pair of ``split`` (or the first ``limit``) and return a report.

    Bad files are listed in the report, not raised. ``tick`` is called with the number of pairs done and in total.

    Raises:
        UserError: a folder is missing, or the dataset has no such split.
    """
    listing = reader.listing(root, split)
    pairs = listing.pairs()[:limit]
    problems, good, sizes = [], list[Sample](), Counter[tuple[int, int]]()
    pixels, frames = np.zeros(256, np.int64), np.zeros(256, np.int64)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, (sample, found) in enumerate(zip(pairs, pool.map(partial(_open, reader), pairs), strict=True), 1):
            if isinstance(found, str):
                problems.append(found)
            else:
                good.append(sample)
                sizes[found.size] += 1
                pixels += found.counts
                frames += found.counts > 0
            tick(done, len(pairs))
    return Report(
        dataset=reader.name, split=split, root=root, home=reader.home,
        images=len(listing.images), labels=len(listing.labels), opened=len(pairs),
        orphans=tuple(listing.orphans()), tolerated=reader.orphans,
        released=reader.released(split), notes=listing.notes, pinned=compare(reader.name, root, good),
        problems=tuple(problems),
        sizes=dict(sizes.most_common()),
        classes=reader.classes, pixels=pixels, frames=frames,
    )  # fmt: skip


def _open(reader: Reader, sample: Sample) -> _Frame | str:
    try:
        image, label = reader.read(sample)
    except UserError as error:
        return str(error)
    return _Frame((image.shape[1], image.shape[0]), np.bincount(label.ravel(), minlength=256))


def _listed(title: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    more = [f"    and {len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return [f"  {len(items)} {title}:", *(f"    {item}" for item in items[:SHOWN]), *more]
