"""``python -m benchmark data …``: every command works on the domains of a protocol."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from benchmark import protocol
from benchmark.common import registry
from benchmark.common.errors import UserError, nearest
from benchmark.data import location
from benchmark.data.check import check_tree
from benchmark.data.domains import Domain, reader_of
from benchmark.data.labels import FACTS
from benchmark.data.samples import Reader
from benchmark.data.show import Row, contact_sheet

DEFAULT = "streets"


def show(name: str, data_root: Path | None, output: Path, columns: int) -> str:
    """Draw images of every domain beside their labels; return where the picture is.

    Raises:
        UserError: no data, a bad file, or a path that no picture can be written to.
    """
    fixed = protocol.load(name)
    root = location.data_root_for(fixed, data_root, Console(stderr=True))
    rows = []
    for title, split in fixed.splits().items():
        domain = Domain.find(split, root)
        name = f"{title} ({split.dataset} {split.split})"
        rows.append(Row(name, domain.reader, domain.samples, domain.classes, domain.colors))
    sheet = contact_sheet(rows, columns=columns)
    try:
        sheet.save(output)
    except (OSError, ValueError) as error:
        raise UserError(f"--output {output}: cannot be written: {error}; name a .png in a folder of yours") from None
    return f"{output}: {len(rows)} domains, {sheet.width}x{sheet.height} pixels"


def check(name: str | None, data_root: Path | None, *, partial: bool = False) -> None:
    """Open every file that the protocol needs, or without one every data set in ``data_root``; print what was found.

    Raises:
        UserError: a folder is missing, or files are; frames of the official release are, and ``partial`` does not say
            that a part is meant. All domains are looked at first.
    """
    console = Console(stderr=True)
    if name is None and data_root is not None:
        root, parts, aim = data_root, _present(data_root), "its readers need"
    else:
        fixed = protocol.load(name or DEFAULT)
        root, aim = location.data_root_for(fixed, data_root, console), f"protocol {fixed.name} needs"
        parts = [(title, reader_of(split), split.split, split.limit) for title, split in fixed.splits().items()]
    bad, fewer = [], []
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bars:
        for title, reader, split, limit in parts:
            task = bars.add_task(title, total=None)
            try:
                report = check_tree(
                    reader, root / reader.name, split, limit=limit,
                    tick=lambda done, total, task=task: bars.update(task, completed=done, total=total),  # type: ignore[misc]
                )  # fmt: skip
            except UserError as error:
                print(f"{title}: {error}")
                bad.append(title)
                continue
            print(report.text())
            if not report.whole:
                bad.append(title)
            elif missing := report.missing(limit):
                fewer.append(f"{title} lacks {missing} frame(s)")
    if bad:
        raise UserError(f"{root}: {', '.join(bad)}: not as {aim} it; see the lines above")
    if fewer and not partial:
        raise UserError(
            f"{root}: sound, but less than the official release: {', '.join(fewer)}; the lines above say where to get "
            "them; give --partial if a part is meant"
        )


def _present(root: Path) -> list[tuple[str, Reader, str, int | None]]:
    """Return the parts of every data set in ``root``, each file in one of them; say what is passed over.

    A split that is not there is no fault while another of the data set is: which are needed, a protocol says.

    Raises:
        UserError: no such folder, or none in it is named as a data set.
    """
    known = registry.names("dataset")
    folders = sorted(path.name for path in root.iterdir() if path.is_dir()) if os.path.isdir(root) else []
    parts: list[tuple[str, Reader, str, int | None]] = []
    for name in folders:
        if name not in known:
            print(f"{root / name}: passed over, no data set of that name: {nearest(name, known)}")
            continue
        reader: Reader = registry.find("dataset", name)
        listed, faults = {}, {}
        for split in FACTS["frames"].get(name, reader.splits):
            try:
                listed[split] = set(reader.listing(root / name, split).images.values())
            except UserError as error:
                faults[split] = error
        covered: set[Path] = set()
        for split, images in sorted(listed.items(), key=lambda item: -len(item[1])):
            if not images or images - covered:
                parts.append((f"{name} {split}", reader, split, None))
            covered |= images
        if not listed:
            parts.append((name, reader, next(iter(faults)), None))
        for split, fault in faults.items() if listed else ():
            print(f"{name} {split}: passed over: {fault}")
    if not parts:
        raise UserError(f"--data-root {root}: no folder in it is named as a data set ({', '.join(known)})")
    return parts


def render(output: Path | None) -> str:
    """Render the embedded default; return where it lies."""
    return str(location.render(output, Console(stderr=True)))
