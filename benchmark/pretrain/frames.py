"""Rendered ``world`` frames in a compact format on disk, read as memory maps.

A frame is stored as its image in several styles, material, instance, depth and normals. Class labels are never read.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.common import reading
from benchmark.common.atomic import write_file
from benchmark.common.errors import UserError
from benchmark.common.orphans import exit_with_parent
from benchmark.data.streets import DOMAINS, Frame, render, restyle

HEIGHT, WIDTH = 128, 256
PART = 250  # frames per file
NEAREST, OCTAVES = 0.5, 9.0  # depth is stored as log2 between 0.5 m and 256 m
SKY = 255
STYLE_STEP = 1_000_000_000  # between the seeds of one geometry's styles


def layout(styles: int) -> np.dtype[Any]:
    """Return the NumPy dtype of one frame.

    image: RGB in each style. material: index, 255 = none. instance: from 1 within the frame, 0 = none. depth: 0..254
    are log2 steps from 0.5 m to 256 m, 255 = sky. normal: in camera axes times 127, every second pixel.
    """
    return np.dtype(
        [
            ("image", np.uint8, (styles, HEIGHT, WIDTH, 3)),
            ("material", np.uint8, (HEIGHT, WIDTH)),
            ("instance", np.uint8, (HEIGHT, WIDTH)),
            ("depth", np.uint8, (HEIGHT, WIDTH)),
            ("normal", np.int8, (HEIGHT // 2, WIDTH // 2, 3)),
        ]
    )


def compact(frames: list[Frame]) -> NDArray[np.void]:
    """Return the stored form of one geometry from its frames, one per style; maps are taken from the first frame."""
    frame = frames[0]
    record = np.zeros((), layout(len(frames)))
    record["image"] = np.stack([styled.image for styled in frames])
    record["material"] = frame.material
    record["instance"] = ranks(frame.instance)
    steps = np.log2(np.maximum(frame.depth, NEAREST) / NEAREST) * (254 / OCTAVES)
    record["depth"] = np.where(np.isfinite(frame.depth), np.clip(np.rint(steps), 0, 254), SKY)
    record["normal"] = np.rint(frame.normal[::2, ::2] * 127)
    return record


def ranks(instance: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Renumber instances to 1, 2, ... in increasing order; 0 stays 0, numbers above 255 become 0."""
    numbers = np.unique(instance[instance > 0])
    rank = np.searchsorted(numbers, instance) + 1
    return np.where((instance > 0) & (rank <= 255), rank, 0).astype(np.uint8)


def first_seed(seed: int) -> int:
    """Return the first ``world`` seed of pre-training ``seed``; consecutive seeds are a million apart."""
    return seed * 1_000_000


class FrameStore:
    """Frames on disk, accessed by index.

    Args:
        folder: folder of the parts, see :func:`render_store`.
        frames: number of frames.
        styles: images per frame.
    """

    def __init__(self, folder: Path, frames: int, styles: int) -> None:
        self.folder, self.frames, self.styles = folder, frames, styles
        self._parts: dict[int, NDArray[np.void]] = {}

    def __len__(self) -> int:
        return self.frames

    def __getitem__(self, index: int) -> NDArray[np.void]:
        """Return frame ``index``, read-only.

        Raises:
            UserError: its file is damaged.
        """
        part, row = divmod(index, PART)
        if part not in self._parts:
            path = self.folder / f"{part:04d}.npy"
            try:
                reading.require_regular(path)
                found = np.load(path, mmap_mode="r", allow_pickle=False)
                if not isinstance(found, np.memmap):
                    raise ValueError("not a single array")
                self._parts[part] = found
            except (OSError, ValueError, EOFError) as error:
                raise UserError(f"{path}: cannot read frames ({error}); delete it to render them again") from error
        return self._parts[part][row]


def render_store(
    root: Path, frames: int, styles: int, seed: int, workers: int, tick: Callable[[int, int], None]
) -> FrameStore:
    """Render missing frames and return the store.

    Args:
        root: folder of all stores; each is in a subfolder named after the domain's version and the arguments.
        frames: number of geometries.
        styles: styles per geometry.
        seed: seed of the pre-training, see :func:`first_seed`.
        workers: number of rendering processes.
        tick: called after each part with the number of finished parts and of all parts.
    """
    folder = root / f"world-{DOMAINS['world'].version}-seed{seed}-{frames}x{styles}"
    parts = range(-(-frames // PART))
    missing = [part for part in parts if not (folder / f"{part:04d}.npy").is_file()]
    done = len(parts) - len(missing)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), exit_with_parent) as pool:
        jobs = [
            pool.submit(_render_part, folder, part, min(PART, frames - part * PART), styles, seed) for part in missing
        ]
        for job in as_completed(jobs):
            job.result()
            done += 1
            tick(done, len(parts))
    return FrameStore(folder, frames, styles)


def _render_part(folder: Path, part: int, count: int, styles: int, seed: int) -> None:
    first = first_seed(seed) + part * PART
    records = np.stack([compact(world_frames(number, styles)) for number in range(first, first + count)])
    buffer = BytesIO()
    np.save(buffer, records)
    write_file(folder / f"{part:04d}.npy", buffer.getvalue())


def world_frames(number: int, styles: int) -> list[Frame]:
    """Render geometry ``number`` of the domain ``world`` in ``styles`` styles, its own first."""
    frame = render("world", number)
    return [frame, *(restyle(frame, "world", number + style * STYLE_STEP) for style in range(1, styles))]
