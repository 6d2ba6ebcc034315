"""Write rendered domains to disk in the official folder layout and label format of the dataset that each imitates.

A dataset is written to a temporary folder, which is renamed when complete. Its ``manifest.json`` lists the content, so
that a complete dataset is not rendered again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from benchmark.common.errors import UserError

from .domains import VERSION
from .formats import facts

MANIFEST = "manifest.json"
CHUNK = 25  # images per task of a worker
# Number of images by dataset and split; for ACDC, per condition.
COUNTS: Mapping[str, Mapping[str, int]] = {
    "gta5": {"train": 600, "val": 100, "test": 100},
    "cityscapes": {"train": 300, "val": 150},
    "bdd100k": {"train": 300, "val": 150},
    "mapillary": {"train": 300, "val": 150},
    "acdc": {"train": 75, "val": 60},
}
CONDITIONS = ("fog", "night", "rain", "snow")
# First seed of each split. They are far apart, so splits never share an image.
FIRST_SEED = {"train": 0, "val": 100_000_000, "test": 200_000_000}
_CITIES = ("altstadt", "hafen", "neuberg")


@dataclass(frozen=True)
class Job:
    """One image to render and write."""

    dataset: str
    split: str
    domain: str
    seed: int
    image: str  # paths relative to the dataset's folder
    label: str


def prepare(
    root: Path,
    *,
    counts: Mapping[str, Mapping[str, int]] = COUNTS,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Render every dataset of ``counts`` below ``root``, unless it is already complete.

    Args:
        root: folder for the datasets, one folder each.
        counts: number of images by dataset and split, as in :data:`COUNTS`.
        workers: number of worker processes; 1 renders in this process.
        progress: called with the number of images done and in total.

    Raises:
        UserError: ``root`` cannot be written, or a dataset's folder contains other files.
    """
    pending = [name for name in counts if not is_whole(root / name, counts[name])]
    jobs = {name: list(list_jobs(name, counts[name])) for name in pending}
    total = sum(map(len, jobs.values()))
    done = 0

    def tick(pictures: int) -> None:
        nonlocal done
        done += pictures
        if progress:
            progress(done, total)

    try:
        for name in pending:
            _write(root / name, jobs[name], counts[name], workers, tick)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot write rendered streets below {root}: {reason}; free some space or give another folder"
        ) from error


def is_whole(place: Path, counts: Mapping[str, int]) -> bool:
    """Return whether ``place`` is a complete dataset of this version and these counts, by the sizes of its files."""
    manifest = _manifest(place)
    if manifest is None or manifest.get("version") != VERSION or manifest.get("counts") != dict(counts):
        return False
    sizes: dict[str, int] = manifest["sizes"]
    try:
        return all(os.stat(place / path).st_size == size for path, size in sizes.items())
    except OSError:
        return False


def _manifest(place: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("sizes"), dict) else None


def _write(place: Path, jobs: list[Job], counts: Mapping[str, int], workers: int, tick: Callable[[int], None]) -> None:
    """Render a dataset into a temporary folder, then move it to ``place``."""
    if place.exists() and not (place / MANIFEST).is_file() and any(place.iterdir()):
        raise UserError(f"{place}: contains files that were not rendered here; remove it or give another folder")
    place.parent.mkdir(parents=True, exist_ok=True)
    _sweep(place)
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    try:
        partial.mkdir()
        written = dict(_fixed_files(place.name, jobs, partial))
        for part in _run(partial, jobs, workers):
            written.update(part)
            tick(len(part) // 2)
        manifest = {
            "version": VERSION,
            "counts": dict(counts),
            "content": content(written),
            "sizes": {path: size for path, (size, _) in sorted(written.items())},
        }
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=0) + "\n", encoding="utf-8")
        _put(partial, place, counts)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put(partial: Path, place: Path, counts: Mapping[str, int]) -> None:
    """Move a complete dataset to ``place``, unless another process has put one there in the meantime."""
    old = partial.with_suffix(".old")
    try:
        if place.exists():
            if is_whole(place, counts):
                return
            place.rename(old)
        partial.rename(place)
    except OSError:
        if not is_whole(place, counts):
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


def _run(partial: Path, jobs: list[Job], workers: int) -> Iterator[dict[str, tuple[int, str]]]:
    """Write all images; yield size and hash of the files by relative path, chunk by chunk."""
    stream = iter(jobs)
    chunks = list(iter(lambda: list(islice(stream, CHUNK)), []))
    if workers <= 1 or len(chunks) == 1:
        for chunk in chunks:
            yield write_pictures(partial, chunk)
        return
    pool = ProcessPoolExecutor(
        min(workers, len(chunks)), multiprocessing.get_context("spawn"), initializer=_init_worker
    )
    try:
        for future in as_completed([pool.submit(write_pictures, partial, chunk) for chunk in chunks]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _init_worker() -> None:
    """Use one thread, and ignore Ctrl-C, which the terminal sends to the parent too: the parent stops its workers."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)

    cv2.setNumThreads(0)


def write_pictures(folder: Path, jobs: list[Job]) -> dict[str, tuple[int, str]]:
    """Render and write images; return size and hash of each file by its relative path."""
    from .files import encode
    from .frame import render

    written = {}
    for job in jobs:
        image, label = encode(job.dataset, render(job.domain, job.seed))
        written[job.image] = _save(folder / job.image, image)
        written[job.label] = _save(folder / job.label, label)
    return written


def _save(path: Path, data: bytes) -> tuple[int, str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return len(data), sha256(data).hexdigest()


def _fixed_files(dataset: str, jobs: list[Job], folder: Path) -> Iterator[tuple[str, tuple[int, str]]]:
    """Write the other files of a dataset: GTA5's splits, Mapillary's config."""
    if dataset == "gta5":
        splits: dict[str, list[str]] = {}
        for job in jobs:
            splits.setdefault(job.split, []).append(Path(job.image).stem)
        yield "splits.json", _save(folder / "splits.json", (json.dumps(splits) + "\n").encode())
    elif dataset == "mapillary":
        labels = [
            {"name": name.lower().replace(" ", "-"), "readable": name, "color": color, "evaluate": name != "Unlabeled"}
            for name, color in facts()["mapillary_v1.2"]["labels"]
        ]
        text = json.dumps({"version": "1.2", "labels": labels}, indent=1)
        yield "config.json", _save(folder / "config.json", (text + "\n").encode())


def list_jobs(dataset: str, counts: Mapping[str, int]) -> Iterator[Job]:
    """Yield the images of a dataset."""
    for split, count in counts.items():
        first, before = FIRST_SEED[split], sum(counts[other] for other in _before(split, counts))
        for k in range(count):
            if dataset == "acdc":
                for domain in CONDITIONS:
                    stem = f"{domain}/{split}/STREET{k // 50:04d}/STREET{k // 50:04d}_frame_{k:06d}"
                    yield Job(
                        dataset, split, domain, first + k, f"rgb_anon/{stem}_rgb_anon.png", f"gt/{stem}_gt_labelIds.png"
                    )  # fmt: skip
            else:
                yield Job(dataset, split, dataset, first + k, *_places(dataset, split, k, before + k + 1))


def _before(split: str, counts: Mapping[str, int]) -> list[str]:
    """Return the splits whose images are numbered before those of ``split``."""
    return [other for other in counts if FIRST_SEED[other] < FIRST_SEED[split]]


def _places(dataset: str, split: str, k: int, number: int) -> tuple[str, str]:
    """Return the paths of image and label number ``k`` of a split; ``number`` counts across all splits."""
    if dataset == "gta5":
        return f"images/{number:05d}.png", f"labels/{number:05d}.png"
    if dataset == "cityscapes":
        city = _CITIES[k % len(_CITIES)] if split == "train" else "musterstadt"
        stem = f"{split}/{city}/{city}_{k:06d}_000019"
        return f"leftImg8bit/{stem}_leftImg8bit.png", f"gtFine/{stem}_gtFine_labelIds.png"
    if dataset == "bdd100k":
        return (
            f"images/10k/{split}/{number:08x}-00000000.jpg",
            f"labels/sem_seg/masks/{split}/{number:08x}-00000000.png",
        )
    folder = {"train": "training", "val": "validation"}[split]
    return f"{folder}/images/street{number:06d}.jpg", f"{folder}/labels/street{number:06d}.png"
