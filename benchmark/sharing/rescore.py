"""``python -m benchmark evaluate``: evaluate a finished run from its weights and compare with its record."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from tabulate import tabulate

from benchmark.artifacts.restore import protocol_of, require_weights, restore
from benchmark.common import machine
from benchmark.common.errors import UserError
from benchmark.common.statistics import miou
from benchmark.data.domains import Domain
from benchmark.data.loader import EvaluationSet
from benchmark.data.location import data_root_for, folder_of, require
from benchmark.evaluation.evaluate import evaluate
from benchmark.records import SOURCE, Record, confusions, find


@dataclass(frozen=True)
class Row:
    """One domain: recorded and computed mIoU (fractions), images, and how many of them differ."""

    domain: str
    recorded: float
    found: float
    images: int
    differing: int

    @property
    def equal(self) -> bool:
        """Whether the confusion matrix of every image equals the recorded one."""
        return self.differing == 0


def run(which: str, records: Path, data_root: Path | None, weights: Path | None) -> None:
    """Evaluate a run again and print recorded and computed scores.

    Args:
        which: as in :func:`benchmark.records.find`.
        records: folder of records.
        data_root: contains one folder per data set; rendered ones need none.
        weights: file with the pre-trained weights of the backbone, if the run used ``--weights``.

    Raises:
        UserError: no such run; no weight files; other pre-trained weights or other images.
        SystemExit: code 1 if a confusion matrix differs.
    """
    console, record = Console(stderr=True), find(which, records)
    require_weights(record)
    protocol = protocol_of(record)
    place = data_root_for(protocol, data_root, console)
    require(protocol, place)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bars:
        task = bars.add_task(record.name, total=sum(score.images for score in record.scores().values()))
        rows = rescore(record, place, weights, lambda: bars.advance(task))
    cells = [(row.domain, 100 * row.recorded, 100 * row.found, row.images, row.differing) for row in rows]
    headers = ("domain", "recorded mIoU", "computed mIoU", "images", "differing")
    print(tabulate(cells, headers, "github", floatfmt=".4f"))
    if all(row.equal for row in rows):
        console.print(f"{record.name}: identical to its record", highlight=False, markup=False, soft_wrap=True)
        return
    names = ", ".join(row.domain for row in rows if not row.equal)
    console.print(
        f"{record.name}: differs from its record on {names}{_elsewhere(record)}",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
    sys.exit(1)


def rescore(
    record: Record, data_root: Path | None, weights: Path | None = None, tick: Callable[[], None] = lambda: None
) -> list[Row]:
    """Evaluate a run again on the held-out source images and every target, with its number of threads.

    Args:
        record: of a finished run with weight files.
        data_root: contains one folder per data set; rendered ones need none. The training images are not needed.
        weights: as in :func:`benchmark.artifacts.restore.restore`.
        tick: called after each image.

    Raises:
        UserError: as :func:`benchmark.artifacts.restore.restore`; other images than those of the record.
    """
    protocol, (known, ids) = protocol_of(record), confusions(record)
    threads = record.machine.get("threads")
    torch.set_num_threads(threads if isinstance(threads, int) and threads > 0 else 1)
    segmenter = restore(record, weights)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    segmenter.to(device)
    rows = []
    for name, split in {SOURCE: protocol.validation, **protocol.targets}.items():
        domain = Domain.find(split, data_root, protocol)
        if [sample.id for sample in domain.samples] != ids[name]:
            raise UserError(f"{folder_of(split.dataset, data_root)}: images of {name} are not those of {record.path}")
        data = EvaluationSet(domain.samples, domain.reader, test_size=domain.test_size)
        items = (data[index] for index in range(len(data)))
        found = evaluate(
            segmenter, items, len(record.classes), protocol.evaluation, device, tick, merge=domain.merge
        )  # fmt: skip
        differing = int((found != known[name]).any((1, 2)).sum())
        mean = float(miou(found.sum(0, dtype=np.int64)))
        rows.append(Row(name, record.scores()[name].miou, mean, len(found), differing))
    return rows


def _elsewhere(record: Record) -> str:
    """Return how this machine differs from that of the run; such differences may change rounding."""
    here = {**machine.versions(), **machine.describe(1)}
    then = {**record.versions, **record.machine}
    known = ("torch", "timm", "processor", "accelerator")
    changed = [f"{name} {then.get(name)}, here {here.get(name)}" for name in known if then.get(name) != here.get(name)]
    return f" (the run had {'; '.join(changed)})" if changed else ""
