"""Cases of readers: ``reader/NAME`` draws a few frames in each layout of :mod:`.layouts` and reads them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.check.micro.digest import Numbers, noise
from benchmark.check.micro.layouts import LAYOUTS, Layout
from benchmark.common import registry
from benchmark.common.temporary import temporary_folder
from benchmark.data.labels import FACTS
from benchmark.data.samples import Reader

Bytes = NDArray[np.uint8]


def cases() -> dict[str, Callable[[], Numbers]]:
    """Return the cases of all readers that have a layout, and one of the tables of labels."""
    names = [name for name in registry.names("dataset") if name in LAYOUTS]
    return {f"reader/{name}": partial(_read, name) for name in names} | {"reader/label tables": _tables}


def missing() -> list[str]:
    """Return this project's readers without a layout."""
    own = [name for name, place in registry.names("dataset").items() if place.startswith("benchmark.data.readers.")]
    return [name for name in own if name not in LAYOUTS]


def _tables() -> Numbers:
    numbers = Numbers()
    for name in FACTS:
        numbers.put_tree(name, FACTS[name])
    return numbers


def _read(name: str) -> Numbers:
    numbers = Numbers()
    reader: Reader = registry.find("dataset", name)
    numbers.put_tree("facts", [reader.classes, reader.colors, reader.splits, reader.mappings, reader.orphans])
    numbers.put_tree("released", [reader.released(split) or 0 for split in reader.splits if "<" not in split])
    for number, layout in enumerate(LAYOUTS[name], 1):
        with temporary_folder("dgss-micro-") as folder:
            draw(layout, folder)
            chosen = reader.using(layout.mapping)
            samples, notes = chosen.survey(folder, layout.split)
            numbers.put_tree(f"layout {number} frames", [[sample.id for sample in samples], notes])
            for sample in samples:
                image, label = chosen.read(sample)
                numbers.put(f"layout {number} {sample.id} image", image)
                numbers.put(f"layout {number} {sample.id} label", label)
    return numbers


def draw(layout: Layout, root: Path) -> None:
    """Write the files of a layout: images of noise, labels with every id."""
    colours = [tuple(entry["rgb"]) for entry in FACTS[layout.ids]["classes"].values()] if isinstance(
        layout.ids, str
    ) else []  # fmt: skip
    count = len(colours) or len(layout.ids)
    for number, frame in enumerate(layout.frames):
        parts = frame.split("/", 1) if "{1}" in layout.images else [frame]
        size = (13 + 2 * number, 17 + 3 * number)
        if frame in FACTS["gta5_files"]["resized"]:
            _save(root / layout.images.format(*parts), _image(frame, size[0] + 5, size[1] + 9))
        else:
            _save(root / layout.images.format(*parts), _image(frame, *size))
        place = ((noise(f"{frame} label", *size) + 1) / 2 * count).astype(int)
        place.reshape(-1)[:count] = np.arange(count)[: place.size]
        label = root / layout.labels.format(*parts)
        if colours:
            _save(label, np.array(colours, np.uint8)[place])
        else:
            _save(label, np.array(layout.ids, np.uint8)[place], layout.kind)
    for path, text in layout.beside.items():
        if text is None:
            _save(root / path, np.full((5, 5), 99, np.uint8))
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8", newline="")


def _shrunk(pixels: Bytes) -> bytes:
    """Return a grey PNG of 4 bits, which neither Pillow nor OpenCV writes."""
    height, width = pixels.shape
    even = np.pad(pixels, ((0, 0), (0, width % 2)))
    rows = b"".join(b"\0" + row.tobytes() for row in even[:, ::2] << 4 | even[:, 1::2])
    header = struct.pack(">IIBBBBB", width, height, 4, 0, 0, 0, 0)
    found = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        found += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return found


def _image(name: str, height: int, width: int) -> Bytes:
    return ((noise(name, height, width, 3) + 1) * 127.5).astype(np.uint8)


def _save(path: Path, pixels: Bytes, kind: str = "grey") -> None:
    """Write a PNG, whatever the suffix of the path: JPEG decoders differ between versions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "red":
        channels = np.stack([pixels.astype(np.uint16) * 0 + 700, pixels.astype(np.uint16) * 0 + 900, pixels], -1)
        path.write_bytes(cv2.imencode(".png", channels)[1].tobytes())
        return
    if kind == "shrunk":
        path.write_bytes(_shrunk(pixels))
        return
    picture = Image.fromarray(pixels)
    if kind == "palette":
        picture.putpalette([(7 * value + 3) % 256 for value in range(768)])
    picture.save(path, format="PNG")
