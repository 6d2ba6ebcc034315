"""``python -m benchmark list``: protocols, methods, backbones, data sets, and runs with their state."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark import labelsets, protocol
from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.common.reading import present
from benchmark.data.location import to_download
from benchmark.models.catalogue import backbone_names, find_backbone, own_backbones
from benchmark.records import read
from benchmark.records.naming import PERTURBED
from benchmark.runs.request import GROUPS
from benchmark.tables.main import order

State = Literal["finished", "failed", "interrupted", "damaged", "pending"]
STYLES = {"finished": "green", "failed": "red", "damaged": "red", "interrupted": "yellow", "pending": "dim"}
PIPE_WIDTH = 200


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


def show(kind: str | None, records: Path) -> None:
    """Print everything of one kind, or of every kind, to standard output.

    Args:
        kind: ``protocols``, ``methods``, ``backbones``, ``datasets``, ``labelsets`` or ``runs``; None for all.
        records: folder whose runs are listed.

    Raises:
        UserError: a file or entry point that cannot be listed.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)  # a pipe has no width to wrap lines at
    makers: dict[str, Callable[[], list[Table]]] = {
        "protocols": lambda: [_protocols()],
        "methods": _methods,
        "backbones": lambda: [_backbones()],
        "datasets": lambda: [_places("Data sets", registry.names("dataset"))],
        "labelsets": lambda: [_label_sets()],
        "runs": lambda: [_runs(records)],
    }
    for each in [kind] if kind else makers:
        console.print(*makers[each]())


def _seeds(folder: Path) -> set[int]:
    matches = (re.fullmatch(r"seed(\d+)\.(json|checkpoint)", path.name) for path in folder.iterdir())
    return {int(match[1]) for match in matches if match}


def _run(folder: Path, seed: int) -> Run:
    key = (folder.parent.parent.name, folder.parent.name, folder.name, seed)
    path = folder / f"seed{seed}.json"
    if present(path):
        try:
            record = read(path, verify=False)
        except UserError as error:
            return Run(*key, "damaged", detail=str(error).removeprefix(f"{path}: "))
        return Run(*key, record.state, record.average, record.finished, record.error or "")
    return Run(*key, "interrupted" if path.with_suffix(".checkpoint").exists() else "pending")


def _runs(records: Path) -> Table:
    table = _table(f"Runs in {records}", "protocol", "backbone", "method", "seed", "state", "mIoU %", "ended", "")
    found = runs(records)
    if not found:
        table.title = Text(f"Runs in {records}: none yet; start with: python -m benchmark run")
    for run in found:
        score = f"{100 * run.average:.1f}" if run.average is not None else ""
        ended = f"{run.ended.astimezone():%Y-%m-%d %H:%M}" if run.ended else ""
        state = Text(run.state, STYLES[run.state])
        cells = [run.protocol, run.backbone, run.method, str(run.seed)]
        table.add_row(*map(Text, cells), state, score, ended, Text(run.detail))
    return table


def _protocols() -> Table:
    table = _table("Protocols", "name", "title", "variants", "data", "backbone")
    for name in protocol.available():
        fixed = protocol.load(name)
        data = "--data-root" if to_download(fixed) else "rendered"
        table.add_row(name, Text(fixed.title), ", ".join(protocol.variants(name)), data, fixed.backbone)
    return table


def _label_sets() -> Table:
    table = _table("Label sets", "name", "classes", "predictions can be merged from")
    for name in labelsets.known():
        found = labelsets.find(name)
        table.add_row(name, ", ".join(found.names), ", ".join(found.merges))
    return table


def _methods() -> list[Table]:
    found = registry.names("method")
    ordered = {name: found[name] for name in sorted(found, key=order)}
    main = {name: place for name, place in ordered.items() if not registry.is_ablation(place)}
    apart = {name: place for name, place in ordered.items() if name not in main}
    words = " or ".join(GROUPS)
    return [
        _places(f"Methods (NAME{PERTURBED} adds feature perturbation)", main),
        _places(f"Ablations (not in --all; by name, or --methods {words})", apart),
    ]


def _places(title: str, names: Mapping[str, str]) -> Table:
    table = _table(title, "name", "where")
    for name, place in names.items():
        table.add_row(name, place.partition(":")[0])
    return table


def _backbones() -> Table:
    table = _table("Backbones", "name", "timm", "weights", "note")
    own = own_backbones()
    for name in backbone_names():
        spec = own.get(name) or find_backbone(name)
        table.add_row(name, spec.timm, spec.weights, Text(spec.note))
    return table


def _table(title: str, *heads: str) -> Table:
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold", justify="right" if head in ("seed", "mIoU %") else "left")
    return table
