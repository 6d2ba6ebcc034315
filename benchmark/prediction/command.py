"""``python -m benchmark predict``: class maps of images without labels."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from benchmark.common.errors import UserError, printable
from benchmark.data.labels import Bytes
from benchmark.data.loader import fitted
from benchmark.prediction import inputs, source, stream
from benchmark.prediction.inputs import Picture
from benchmark.prediction.output import Ids, Output, archived, id_table
from benchmark.prediction.overlay import overlay
from benchmark.protocol import Protocol

Size = tuple[int, int]
OWN = "own"
ALLOCATION = re.compile(r"allocate|out of memory", re.IGNORECASE)


@dataclass(frozen=True)
class Request:
    """The arguments of the command.

    Attributes:
        which: as in :func:`benchmark.prediction.source.opened`.
        images: files, folders and patterns.
        out: folder of the outputs.
        records: folder of records.
        weights: file with the pre-trained weights of the backbone, if the run used ``--weights``.
        ids: ids in the class maps, see :func:`benchmark.prediction.output.id_table`.
        test_size: ``WIDTHxHEIGHT`` or ``own``; None for that of the protocol.
        overlays: draw overlays.
        table: write the table of confidences.
        archive: write the archive for a test server.
    """

    which: str
    images: Sequence[str]
    out: Path
    records: Path
    weights: Path | None = None
    ids: Ids = "train"
    test_size: str | None = None
    overlays: bool = False
    table: bool = False
    archive: bool = False


@dataclass(frozen=True)
class Frame:
    """An image, and its pixels at its own size and at the size of inference, both uint8 (H, W, 3)."""

    picture: Picture
    own: Bytes
    tested: Bytes

    @property
    def sizes(self) -> tuple[Size, Size]:
        """Both sizes, (height, width)."""
        return (self.own.shape[0], self.own.shape[1]), (self.tested.shape[0], self.tested.shape[1])


def run(request: Request) -> None:
    """Predict images and print how many; list on standard error those that cannot be read.

    Raises:
        UserError: no such run or images; the outputs cannot be written or there is too little space.
        SystemExit: code 1 if a file was skipped because it is not an image or cannot be read.
    """
    console = Console(stderr=True)
    skipped: list[Path] = []

    def skip(path: Path, reason: str) -> None:
        skipped.append(path)
        console.print(f"skipped: {printable(str(path))}: {reason}", markup=False, highlight=False, soft_wrap=True)

    with source.opened(request.which, request.records, request.weights) as found:
        limits = _limits(request.test_size, found.protocol)
        ids = id_table(request.ids, found.labels)
        pictures = inputs.find(request.images, request.out, skip)
        if request.archive:
            archived(pictures, request.ids)
        output = Output(request.out, request.overlays)
        pending = [picture for picture in pictures if not output.exists(picture)]
        output.require_space(pending, archive=request.archive)
        record, size = found.record, "x".join(map(str, limits)) if limits else OWN
        output.sign({"run": record.name, "checksum": record.checksum, "ids": request.ids, "test_size": size})
        written = _predict(found, pending, output, ids, limits, skip, console) if pending else 0
    made = [str(request.out)]
    if request.table:
        made.append(str(output.table(pictures)))
    if request.archive:
        made.append(str(output.archive(pictures, request.ids)))
    there = len(pictures) - len(pending)
    print(f"{', '.join(map(printable, made))}: {written} predicted, {there} existing, {len(skipped)} skipped")
    if skipped:
        sys.exit(1)


def _predict(
    found: source.Run,
    pending: Sequence[Picture],
    output: Output,
    ids: Bytes,
    limits: Size | None,
    skip: Callable[[Path, str], None],
    console: Console,
) -> int:
    """Predict and write ``pending``; return how many were written."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    segmenter, spec, written, noted = found.build().to(device), found.protocol.evaluation, 0, False
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bars:
        task = bars.add_task(found.record.name, total=sum(picture.pixels for picture in pending))
        frames = _frames(pending, limits, skip, lambda pixels: bars.advance(task, pixels))
        for group in _groups(frames, 1 if device.type == "cpu" else stream.GPU_AT_ONCE):
            own, tested = group[0].sizes
            if stream.in_windows(tested, spec) and not noted:
                noted = True
                console.print(
                    f"images of more than {stream.WHOLE} pixels are predicted in windows of {stream.CROP} pixels, "
                    f"stride {stream.STRIDE}; --test-size scales them down instead", highlight=False, soft_wrap=True,
                )  # fmt: skip
            try:
                predictions = stream.predict(
                    segmenter, [frame.tested for frame in group], own, spec, lambda pixels: bars.advance(task, pixels)
                )
            except (MemoryError, RuntimeError) as error:
                if isinstance(error, RuntimeError) and not ALLOCATION.search(str(error)):
                    raise
                where = f"{group[0].picture.path}: {own[1]}x{own[0]} pixels"
                raise UserError(f"{where}: out of memory; give a smaller --test-size") from None
            for frame, prediction in zip(group, predictions, strict=True):
                drawn = overlay(frame.own, prediction.classes, found.labels) if output.overlays else None
                output.write(frame.picture, prediction, ids, drawn)
                written += 1
    return written


def _frames(
    pictures: Sequence[Picture], limits: Size | None, skip: Callable[[Path, str], None], tick: Callable[[int], None]
) -> Iterator[Frame]:
    """Read the images, one at a time; call ``skip`` for each that is damaged, and ``tick`` with its pixels."""
    for picture in pictures:
        try:
            own = inputs.read(picture.path)
        except UserError as error:
            skip(picture.path, str(error))
            tick(picture.pixels)
            continue
        tested = own
        if limits is not None:
            scaled = cv2.resize(own, fitted(own.shape[:2], limits), interpolation=cv2.INTER_LINEAR)  # as in evaluations
            tested = np.asarray(scaled, np.uint8)
        yield Frame(picture, own, tested)


def _groups(frames: Iterator[Frame], most: int) -> Iterator[list[Frame]]:
    """Yield successive frames of equal sizes, at most ``most`` pixels together, but at least one."""
    group: list[Frame] = []
    for frame in frames:
        height, width = frame.sizes[1]
        if group and (frame.sizes != group[0].sizes or (len(group) + 1) * height * width > most):
            yield group
            group = []
        group.append(frame)
    if group:
        yield group


def _limits(given: str | None, protocol: Protocol) -> Size | None:
    """Return the size that images are scaled to fit into; by default the test size that all targets have in common.

    Raises:
        UserError: ``given`` is not a size.
    """
    if given is None:
        sizes = {split.test_size for split in protocol.targets.values()}
        return sizes.pop() if len(sizes) == 1 else None
    if given == OWN:
        return None
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", given)
    if match is None:
        raise UserError(f"--test-size {given}: must be WIDTHxHEIGHT in pixels, such as 1280x720, or {OWN}")
    return int(match[1]), int(match[2])
