"""``python -m benchmark stability``: measures, writes records, prints the table and draws the figure."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmark import protocol
from benchmark.common.atomic import write_file, writing
from benchmark.common.errors import UserError
from benchmark.data.location import make_ready, place_for, require
from benchmark.models.catalogue import find_backbone
from benchmark.runs import request
from benchmark.runs.display import Display
from benchmark.runs.events import Ended
from benchmark.runs.job import Job
from benchmark.runs.sweep import check_writable
from benchmark.stability import table
from benchmark.stability.record import Stability, place_of, read, write
from benchmark.tables import terminal
from benchmark.training.runtime import RuntimeOptions

BATCHES = (1, 2, 4, 8, 16, 32)
FIGURE = "overlap"


def run(
    name: str,
    seeds: str,
    images: str,
    *,
    backbone: str | None,
    weights: Path | None,
    data_root: Path | None,
    records: Path,
    force: bool,
    threads: int,
) -> None:
    """Measure the pending seeds, print the table, and draw the figure next to the records.

    Finished seeds are kept. An interrupted seed leaves no files and is measured from scratch.

    Raises:
        UserError: invalid options, missing or unreadable data, or a folder that cannot be written.
    """
    console = Console(stderr=True)
    fixed = protocol.load(name)
    wanted = request.plan(
        fixed, find_backbone(backbone or fixed.backbone).name, ["fishertune"], request.parse_seeds(seeds), {},
        data_root=place_for(fixed, data_root), folder=records, weights=weights,
        runtime=RuntimeOptions(threads=threads),
    )  # fmt: skip
    counts = parse_images(images, fixed.batch)
    places = {job: place_of(records, fixed.name, job.spec.backbone, job.spec.seed) for job in wanted}
    pending = [job for job in wanted if force or not _finished(places[job], job, counts)]
    check_writable(places[wanted[0]].parent)
    if pending:
        require(fixed, wanted[0].data_root)
        make_ready(fixed, wanted[0].data_root, console)
        _measure({job: places[job] for job in pending}, counts, console)
    _close([read(places[job]) for job in wanted], places[wanted[0]].parent, console)


def parse_images(text: str, batch: int) -> list[int]:
    """Parse ``--images``, such as ``8,16,32``; empty for 1 to 32 batches.

    Raises:
        UserError: not a list of numbers, or a number that is not a multiple of the batch size.
    """
    if not text:
        return [batch * count for count in BATCHES]
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise UserError(f"--images {text}: must be comma-separated numbers, such as 8,16,32") from None
    for count in counts:
        if count < 1 or count % batch:
            raise UserError(f"--images {count}: must be a multiple of the protocol's batch size, {batch}")
    return counts


def _finished(path: Path, job: Job, counts: list[int]) -> bool:
    """Return whether the record exists.

    Raises:
        UserError: it is damaged, or was measured under other conditions.
    """
    if not os.path.exists(path):  # unlike Path.exists, no error where a name is too long
        return False
    record = read(path)
    for field, recorded, now in (
        ("protocol version", record.fingerprint, job.spec.protocol.fingerprint()),
        ("--images", list(record.images), counts),
    ):
        if recorded != now:
            raise UserError(f"{path}: measured with another {field}; repeat it with --force, or give another --records")
    return True


def _measure(pending: dict[Job, Path], counts: list[int], console: Console) -> None:
    from benchmark.stability.measure import measure  # deferred: options are checked before torch is imported

    with Display(len(pending), console) as display:
        for job, path in pending.items():
            write(measure(job, counts, partial(display.show, job)), path)
            display.show(job, Ended("finished", str(path)))


def _close(records: list[Stability], folder: Path, console: Console) -> None:
    """Print the table, and draw the figure of the same seeds."""
    from benchmark.stability.figure import draw

    terminal.show([made for made in (table.build(records), table.of_targets(records)) if made is not None])
    for ending, content in draw(records).items():
        path = folder / f"{FIGURE}{ending}"
        with writing(path):
            write_file(path, content)
        console.print(path, markup=False, highlight=False, soft_wrap=True)
