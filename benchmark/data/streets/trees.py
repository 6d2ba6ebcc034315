"""Write rendered datasets to disk: ``<dataset>/<look>/<part>/images/<id>.png`` (or ``.jpg``) and ``labels/<id>.png``.

A part is written to a temporary folder, which is renamed when complete. Its ``manifest.json`` lists the content, so
that a complete part is not rendered again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from benchmark.common import atomic, reading, shared_memory, strict_json
from benchmark.common.errors import UserError, nearest
from benchmark.common.hashing import sha256_of
from benchmark.common.orphans import exit_with_parent

from .domains import VERSION
from .factors import FACTORS, STRENGTHS, find_domain

MANIFEST = "manifest.json"
CHUNK = 25  # images per task of a worker
_USUAL, _ADVERSE = {"train": 300, "val": 150}, {"train": 75, "val": 60}
# Number of images by dataset, look (a domain's name, or a factor with its strength) and part.
COUNTS: Mapping[str, Mapping[str, Mapping[str, int]]] = {
    "streets": {
        "game": {"train": 600, "val": 100, "test": 100},
        "overcast": _USUAL, "dashcam": _USUAL, "worldwide": _USUAL,
        "fog": _ADVERSE, "night": _ADVERSE, "rain": _ADVERSE, "snow": _ADVERSE,
        **{f"{name}-{strength}": {"val": 40} for name in FACTORS for strength in STRENGTHS},
    },
    "streets-large": {"game": {"train": 400, "val": 60, "test": 60}},
}  # fmt: skip
SIZES = {"streets": (128, 256), "streets-large": (256, 512)}
"""Height and width of a dataset's images. Image k of a look and part shows the same street in every dataset."""
# First seed of each part. They are far apart, so parts never share an image.
FIRST_SEED = {"train": 0, "val": 100_000_000, "test": 200_000_000}


@dataclass(frozen=True)
class Part:
    """The first ``count`` images of a part of a look in a dataset."""

    dataset: str
    look: str
    name: str
    count: int

    @property
    def path(self) -> str:
        """Path of its folder below the root of all datasets."""
        return f"{self.dataset}/{self.look}/{self.name}"

    def images(self) -> list[Image]:
        """Return its images."""
        first = FIRST_SEED[self.name]
        return [Image(self.look, first + k, SIZES[self.dataset], f"{k:05d}") for k in range(self.count)]


@dataclass(frozen=True)
class Image:
    """One image to render and write."""

    domain: str
    seed: int
    size: tuple[int, int]
    id: str


def parts(dataset: str) -> list[Part]:
    """Return all parts of a rendered dataset."""
    return [Part(dataset, look, *each) for look, counts in COUNTS[dataset].items() for each in counts.items()]


def find_part(dataset: str, split: str) -> Part:
    """Return the part ``<look>/<part>`` of a rendered dataset.

    Raises:
        UserError: there is none; the message suggests the nearest.
    """
    found = {f"{part.look}/{part.name}": part for part in parts(dataset)}
    if split not in found:
        raise UserError(f"{dataset}: no split {split!r}; {nearest(split, found)}")
    return found[split]


def prepare(
    root: Path,
    wanted: Iterable[Part],
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Render the wanted parts below ``root``, unless they are already complete.

    Args:
        root: folder for the datasets, one folder each.
        wanted: what to render.
        workers: number of worker processes; 1 renders in this process.
        progress: called with the number of images done and in total.

    Raises:
        UserError: ``root`` cannot be written, or a part's folder contains other files.
    """
    pending = [part for part in dict.fromkeys(wanted) if not is_whole(root, part)]
    total, done = sum(part.count for part in pending), 0

    def tick(pictures: int) -> None:
        nonlocal done
        done += pictures
        if progress:
            progress(done, total)

    try:
        for part in pending:
            _write(root, part, workers, tick)
    except OSError as error:
        raise UserError(
            f"cannot write rendered streets below {root}: {atomic.reason(error, 'give another folder')}"
        ) from error


def is_whole(root: Path, part: Part) -> bool:
    """Return whether a part below ``root`` is complete and of this version, by the sizes of its files."""
    place = root / part.path
    manifest = _manifest(place)
    if manifest is None or manifest.get("version") != VERSION or manifest.get("count") != part.count:
        return False
    sizes: dict[str, int] = manifest["sizes"]
    try:
        return all(os.stat(place / path).st_size == size for path, size in sizes.items())
    except OSError:
        return False


def changed(root: Path, part: Part) -> bool:
    """Return whether files of a complete part below ``root`` differ from what was rendered, by their hashes.

    Raises:
        UserError: a file cannot be read.
    """
    place = root / part.path
    manifest = _manifest(place)
    if manifest is None or "content" not in manifest:
        return False
    try:
        found = {path: (size, sha256_of(place / path)) for path, size in manifest["sizes"].items()}
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror or error}") from None
    return content(found) != manifest["content"]


def _manifest(place: Path) -> dict[str, Any] | None:
    try:
        found = strict_json.load(reading.read_text(place / MANIFEST))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("sizes"), dict) else None


def _write(root: Path, part: Part, workers: int, tick: Callable[[int], None]) -> None:
    """Render a part into a temporary folder, then move it to its place below ``root``."""
    place = root / part.path
    if os.path.lexists(place) and not place.is_dir():
        raise UserError(f"{place}: not a folder; remove it or give another folder")
    if place.exists() and not (place / MANIFEST).is_file() and any(place.iterdir()):
        raise UserError(f"{place}: contains files that were not rendered here; remove it or give another folder")
    place.parent.mkdir(parents=True, exist_ok=True)
    _sweep(place)
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    try:
        partial.mkdir()
        written: dict[str, tuple[int, str]] = {}
        for chunk in _run(partial, part.images(), workers):
            written.update(chunk)
            tick(len(chunk) // 2)
        manifest = {
            "version": VERSION,
            "count": part.count,
            "content": content(written),
            "sizes": {path: size for path, (size, _) in sorted(written.items())},
        }
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=0) + "\n", encoding="utf-8")
        _put(partial, root, part)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put(partial: Path, root: Path, part: Part) -> None:
    """Move a complete part to its place, unless another process has put one there in the meantime."""
    place, old = root / part.path, partial.with_suffix(".old")
    try:
        if place.exists():
            if is_whole(root, part):
                return
            place.rename(old)
        partial.rename(place)
    except OSError:
        if not is_whole(root, part):
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _sweep(place: Path) -> None:
    """Remove temporary folders of processes that no longer exist."""
    for entry in place.parent.glob(f".{place.name}.*"):
        number = entry.name[len(place.name) + 2 :].partition(".")[0]
        if entry.suffix in (".partial", ".old") and number.isdigit() and not psutil.pid_exists(int(number)):
            shutil.rmtree(entry, ignore_errors=True)


def content(written: Mapping[str, tuple[int, str]]) -> str:
    """Return a hash of all relative paths and file hashes."""
    return sha256("\n".join(f"{path} {digest}" for path, (_, digest) in sorted(written.items())).encode()).hexdigest()


def _run(partial: Path, images: list[Image], workers: int) -> Iterator[dict[str, tuple[int, str]]]:
    """Write all images; yield size and hash of the files by relative path, chunk by chunk."""
    stream = iter(images)
    chunks = list(iter(lambda: list(islice(stream, CHUNK)), []))
    if workers <= 1 or len(chunks) == 1:
        for chunk in chunks:
            yield write_pictures(partial, chunk)
        return
    try:
        pool = ProcessPoolExecutor(
            min(workers, len(chunks)), multiprocessing.get_context("spawn"), initializer=_init_worker
        )
    except OSError as error:
        raise UserError(f"cannot start processes that render: {shared_memory.reason(error)}") from error
    try:
        for future in as_completed([pool.submit(write_pictures, partial, chunk) for chunk in chunks]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _init_worker() -> None:
    """Use one thread, and ignore Ctrl-C, which the terminal sends to the parent too: the parent stops its workers."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    exit_with_parent()
    cv2.setNumThreads(0)


def write_pictures(folder: Path, images: list[Image]) -> dict[str, tuple[int, str]]:
    """Render and write images and labels; return size and hash of each file by its relative path."""
    from .files import encode
    from .frame import render

    written = {}
    for each in images:
        domain = find_domain(each.domain)
        image, label = encode(render(domain, each.seed, each.size), domain.jpeg)
        for path, data in (
            (f"images/{each.id}.{'png' if domain.jpeg is None else 'jpg'}", image), (f"labels/{each.id}.png", label)
        ):  # fmt: skip
            written[path] = _save(folder / path, data)
    return written


def _save(path: Path, data: bytes) -> tuple[int, str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return len(data), sha256(data).hexdigest()
