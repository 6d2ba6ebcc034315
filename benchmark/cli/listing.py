"""``python -m benchmark list``: protocols, methods, backbones, data sets, and runs with their state."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchmark import labelsets, protocol
from benchmark.common import registry
from benchmark.common.errors import UserError, printable
from benchmark.common.reading import present
from benchmark.common.terminal import GAP, MORE, PLAIN, aligned, fitting, length, width, wrapped
from benchmark.data import get as downloads
from benchmark.data.location import to_download
from benchmark.models.catalogue import backbone_names, find_backbone, own_backbones
from benchmark.records import read
from benchmark.records.naming import PERTURBED
from benchmark.records.store import paths
from benchmark.runs.request import GROUPS
from benchmark.tables.main import order

if TYPE_CHECKING:
    from benchmark.data.samples import Reader
    from benchmark.method import Method

State = Literal["finished", "failed", "interrupted", "damaged", "pending"]
STYLES = {
    "finished": "\x1b[32m", "failed": "\x1b[31m", "damaged": "\x1b[31m", "interrupted": "\x1b[33m",
    "pending": "\x1b[2m",
}  # fmt: skip
"""Green, red, yellow and dim."""
NUMBERS = ("seed", "mIoU %", "on disk")
"""Heads of columns that are aligned to the right."""


@dataclass(frozen=True)
class Run:
    """One run of a folder of records.

    Attributes:
        state: an ``interrupted`` run has a checkpoint and no record, a ``damaged`` one an invalid record, a
            ``pending`` one neither, although another method of the protocol and backbone has its seed.
        average: mean mIoU over the targets (fraction) of a finished run.
        ended: when its record was written.
        detail: why a run failed, or why its record is invalid.
    """

    protocol: str
    backbone: str
    method: str
    seed: int
    state: State
    average: float | None = None
    ended: datetime | None = None
    detail: str = ""


def runs(root: Path) -> list[Run]:
    """Return the runs below ``root``, by protocol, backbone, method in the table's order, and seed.

    Raises:
        UserError: a folder cannot be listed.
    """
    for _ in paths(root):  # refuses what cannot be listed
        pass
    if not os.path.isdir(root):
        return []
    try:
        return _found(root)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be listed: {error.strerror}; make it readable") from error


def _found(root: Path) -> list[Run]:
    found: list[Run] = []
    for place in sorted(path for path in root.glob("*/*") if path.is_dir()):
        folders = [path for path in place.iterdir() if path.is_dir() and not path.name.startswith(".")]
        folders.sort(key=lambda path: order(path.name))
        seeds = sorted({seed for folder in folders for seed in _seeds(folder)})
        found += [_run(folder, seed) for folder in folders for seed in seeds]
    return found


@dataclass(frozen=True)
class Listing:
    """What is printed of one kind.

    Attributes:
        title: printed above.
        heads: of the columns.
        rows: one cell per column.
        spare: which columns a narrow terminal leaves out, see :func:`benchmark.common.terminal.fitting`.
        texts: how many of the last columns are long; on a terminal that is too narrow they go below their row.
        notes: printed below.
    """

    title: str
    heads: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    spare: tuple[int, ...]
    texts: int = 0
    notes: tuple[str, ...] = ()

    def text(self, room: int | None) -> str:
        """Return the listing in lines of at most ``room`` characters; None for any length."""
        grid = [self.heads, *self.rows]
        whole = [max(map(length, column)) for column in zip(*grid, strict=True)]
        below = self.texts if room is not None and sum(whole) + GAP * (len(whole) - 1) > room else 0
        count = len(self.heads) - below
        kept = fitting(whole[:count], self.spare[:count], room)
        right = [self.heads[place] in NUMBERS for place in kept]
        head, *lines = aligned([[row[place] for place in kept] for row in grid], right)
        out = [wrapped(self.title, room), "", head, "─" * max(map(length, [head, *lines]))]
        for row, line in zip(self.rows, lines, strict=True):
            out += [line, *(wrapped(f"    {cell}", room, "    ") for cell in row[count:] if cell)]
        left = ", ".join(head for place, head in enumerate(self.heads[:count]) if place not in kept)
        notes = [f"Left out to fit {room} characters: {left}; {MORE}."] if left else []
        notes += [wrapped(note, room) for note in self.notes]
        return "\n".join([*out, *([""] if notes else []), *notes, ""])


def show(kind: str | None, records: Path, *, verbose: bool = False) -> None:
    """Print everything of one kind, or of every kind, to standard output.

    Args:
        kind: ``protocols``, ``methods``, ``backbones``, ``datasets``, ``labelsets`` or ``runs``; None for all.
        records: folder whose runs are listed.
        verbose: also the modules of methods and data sets.

    Raises:
        UserError: a file or entry point that cannot be listed.
    """
    makers: dict[str, Callable[[], list[Listing]]] = {
        "protocols": lambda: [_protocols()],
        "methods": lambda: _methods(verbose),
        "backbones": lambda: [_backbones()],
        "datasets": lambda: [_datasets(verbose)],
        "labelsets": lambda: [_label_sets()],
        "runs": lambda: [_runs(records)],
    }
    for each in [kind] if kind else makers:
        for listing in makers[each]():
            print(listing.text(width()))


def _seeds(folder: Path) -> set[int]:
    matches = (re.fullmatch(r"seed(\d+)\.(json|checkpoint)", path.name, re.IGNORECASE) for path in folder.iterdir())
    return {int(match[1]) for match in matches if match}


def _run(folder: Path, seed: int) -> Run:
    key = (folder.parent.parent.name, folder.parent.name, folder.name, seed)
    path = folder / f"seed{seed}.json"
    upper = path.with_suffix(".JSON")
    if present(path := upper if present(upper) else path):
        try:
            record = read(path, verify=False)
        except UserError as error:
            return Run(*key, "damaged", detail=str(error).removeprefix(f"{path}: "))
        return Run(*key, record.state, record.average, record.finished, record.error or "")
    return Run(*key, "interrupted" if path.with_suffix(".checkpoint").exists() else "pending")


def _runs(records: Path) -> Listing:
    rows = []
    colours = width() is not None and "NO_COLOR" not in os.environ
    for run in runs(records):
        score = f"{100 * run.average:.1f}" if run.average is not None else ""
        ended = f"{run.ended.astimezone():%Y-%m-%d %H:%M}" if run.ended else ""
        state = f"{STYLES[run.state]}{run.state}{PLAIN}" if colours else run.state
        names = map(printable, (run.protocol, run.backbone, run.method, str(run.seed)))
        rows.append([*names, state, score, ended, printable(run.detail)])
    title = f"Runs in {records}" + ("" if rows else ": none yet; start with: python -m benchmark run")
    heads = ("protocol", "backbone", "method", "seed", "state", "mIoU %", "ended", "")
    return Listing(title, heads, rows, (1, 2, 0, 0, 0, 0, 3, 0), texts=1)


def _protocols() -> Listing:
    rows = []
    for name in protocol.available():
        fixed = protocol.load(name)
        data = "--data-root" if to_download(fixed) else "rendered"
        rows.append([name, data, fixed.backbone, fixed.title, ", ".join(protocol.variants(name))])
    heads = ("name", "data", "backbone", "title", "variants (NAME@VARIANT)")
    return Listing("Protocols", heads, rows, (0, 1, 2, 0, 0), texts=2)


def _label_sets() -> Listing:
    found = map(labelsets.find, labelsets.known())
    rows = [[each.name, ", ".join(each.names), ", ".join(each.merges)] for each in found]
    heads = ("name", "classes", "predictions can be merged from")
    return Listing("Label sets", heads, rows, (0, 0, 0), texts=2)


def _methods(verbose: bool) -> list[Listing]:
    found = registry.names("method")
    main = {name: place for name, place in found.items() if not registry.is_ablation(place)}
    apart = {name: place for name, place in found.items() if name not in main}
    words = " or ".join(GROUPS)
    return [
        _described(f"Methods (NAME{PERTURBED} adds feature perturbation)", main, verbose),
        _described(f"Ablations (not in --all; by name, or --methods {words})", apart, verbose),
    ]


def _described(title: str, places: Mapping[str, str], verbose: bool) -> Listing:
    rows = []
    for name in sorted(places, key=order):
        kind: type[Method] = registry.find("method", name)
        row = [name, _summary(kind, places[name]), kind.source]
        rows.append([*row, places[name].partition(":")[0]] if verbose else row)
    heads = ("name", "what it does", "paper", "module")
    return Listing(title, heads[: 3 + verbose], rows, (0,) * (3 + verbose), texts=2 + verbose)


def _summary(kind: type[Method], place: str) -> str:
    """Return what a method does, in a line: the first of its file's docstring, or of the class's if it has several."""
    module, _, attribute = place.partition(":")
    own = kind.__doc__ if attribute.endswith("S") else sys.modules[module].__doc__ or kind.__doc__
    line = (own or "").strip().partition("\n")[0]
    line = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"\1", line).replace("``", "")
    return re.sub(rf"^{re.escape(kind.label)}: (\w)", lambda match: match[1].upper(), line)


def _datasets(verbose: bool) -> Listing:
    rows = []
    open_ones = downloads.listed()
    for name, place in registry.names("dataset").items():
        reader: Reader = registry.find("dataset", name)
        size, licence = f"~{reader.size}" if reader.size else "", reader.licence
        if name in open_ones:
            size, licence = f"{open_ones[name].bytes / 1e9:.2f} GB", open_ones[name].licence
        row = [name, size, licence, reader.home]
        rows.append([*row, place.partition(":")[0]] if verbose else row)
    heads = ("name", "on disk", "licence", "download", "module")
    notes = (
        "~: estimated from number and size of the frames. Licences are in short; the terms of the site apply. "
        "python -m benchmark data get downloads what is openly available.",
    )
    return Listing("Data sets", heads[: 4 + verbose], rows, (0,) * (4 + verbose), 2 + verbose, notes)


def _backbones() -> Listing:
    own, rows = own_backbones(), []
    for name in backbone_names():
        spec = own.get(name) or find_backbone(name)
        rows.append([name, spec.weights, spec.timm, spec.note])
    return Listing("Backbones", ("name", "weights", "timm", "note"), rows, (0, 0, 1, 0), texts=1)
