"""The commands ``python -m benchmark data …``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from benchmark import protocol
from benchmark.common import registry
from benchmark.common.errors import UserError, nearest, printable
from benchmark.data import get as downloads
from benchmark.data import location
from benchmark.data.check import check_tree
from benchmark.data.domains import Domain, reader_of
from benchmark.data.elsewhere import likely_fix
from benchmark.data.folders import MissingError
from benchmark.data.labels import FACTS
from benchmark.data.samples import Reader
from benchmark.data.show import Row, contact_sheet

DEFAULT = "streets"


def show(name: str, data_root: Path | None, output: Path, columns: int) -> str:
    """Write a contact sheet of the protocol's domains to ``output``; return a line that describes it.

    Raises:
        UserError: the data are missing, a file is bad, or ``output`` cannot be written.
    """
    fixed = protocol.load(name)
    root = location.data_root_for(fixed, data_root, Console(stderr=True))
    rows = []
    for title, split in fixed.splits().items():
        domain = Domain.find(split, root, fixed)
        name = f"{title} ({split.dataset} {split.split})"
        rows.append(Row(name, domain.reader, domain.samples, domain.classes, domain.colors))
    sheet = contact_sheet(rows, columns=columns)
    try:
        sheet.save(output)
    except (OSError, ValueError) as error:
        raise UserError(
            f"--output {output}: cannot be written: {error}; give a .png file in a writable folder"
        ) from None
    return f"{output}: {len(rows)} domains, {sheet.width}x{sheet.height} pixels"


def check(name: str | None, data_root: Path | None, *, partial: bool = False) -> None:
    """Decode every file that the protocol needs and print a report; without a protocol, check all of ``data_root``.

    All domains are checked before an error is raised.

    Raises:
        UserError: a folder or file is missing or bad, or, without ``partial``, frames of the official release are
            missing.
    """
    console = Console(stderr=True)
    if name is None and data_root is not None:
        root: Path | None = data_root
        parts = _present(data_root)
    else:
        fixed = protocol.load(name or DEFAULT)
        root = location.data_root_for(fixed, data_root, console)
        parts = [(title, reader_of(split), split.split, split.limit) for title, split in fixed.splits().items()]
    bad, fewer = [], []
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bars:
        for title, reader, split, limit in parts:
            task = bars.add_task(title, total=None)
            try:
                report = check_tree(
                    reader, location.folder_of(reader.name, root), split, limit=limit,
                    tick=lambda done, total, task=task: bars.update(task, completed=done, total=total),  # type: ignore[misc]
                )  # fmt: skip
            except UserError as error:
                print(f"{title}: {error}")
                bad.append(title)
                continue
            print(report.text())
            altered = reader.rendered and _altered(reader.name, split, root)
            if altered:
                print("  files differ from what was rendered; delete the folder to render them again")
            if altered or not report.whole:
                bad.append(title)
            elif missing := report.missing(limit):
                fewer.append(f"{title} lacks {missing} frame(s)")
    where = root or location.rendered()
    if bad:
        raise UserError(f"{where}: {', '.join(bad)}: files are missing or bad; see the lines above")
    if fewer and not partial:
        raise UserError(
            f"{where}: no bad files, but fewer frames than in the official release: {', '.join(fewer)}; the lines "
            "above say where to get them; give --partial to accept a partial dataset"
        )


def _present(root: Path) -> list[tuple[str, Reader, str, int | None]]:
    """Return splits that cover every dataset in ``root``, each file once; print a line for each folder skipped.

    A missing split is not a fault if another split of the dataset is present: only a protocol says which are needed.

    Raises:
        UserError: ``root`` does not exist or contains no folder with the name of a dataset.
    """
    known = registry.names("dataset")
    location.require_folder(root)
    folders = sorted(path.name for path in root.iterdir() if path.is_dir() or path.name in known)
    parts: list[tuple[str, Reader, str, int | None]] = []
    for name in folders:
        if name not in known:
            print(f"{printable(str(root / name))}: skipped, not the name of a dataset: {nearest(name, known)}")
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
        wrong: dict[str, str] = {}  # the first split with each fault
        for split, fault in faults.items():
            if not isinstance(fault, MissingError) or _holds(root / name, split):
                wrong.setdefault(str(fault), split)
            elif listed:
                print(f"{name} {split}: skipped: {fault}")
        parts += [(f"{name} {split}", reader, split, None) for split in wrong.values()]
        if not listed and not wrong:
            parts.append((name, reader, next(iter(faults)), None))
    if not parts and (fix := likely_fix(root.resolve(), [*known])):
        raise UserError(f"--data-root {root}: {fix}")
    if not parts:
        raise UserError(f"--data-root {root}: contains no dataset; known dataset folders: {', '.join(known)}")
    return parts


def _altered(dataset: str, split: str, root: Path | None) -> bool:
    from benchmark.data import streets

    return streets.changed(location.folder_of(dataset, root).parent, streets.find_part(dataset, split))


def _holds(root: Path, split: str) -> bool:
    """Return whether there is a picture below a folder of the split's name: part of the split is present."""
    wanted = split.partition(":")[0]
    return any(
        path.suffix.lower() in (".png", ".jpg") and wanted in path.relative_to(root).parts[:-1]
        for path in root.rglob("*")
    )


def get(name: str, data_root: Path, *, accept_licences: bool) -> str:
    """Download the protocol's data sets that are openly available and not in ``data_root`` yet; return a report.

    Raises:
        UserError: a licence has not been accepted, a download fails (see :func:`benchmark.data.get.get`), or a data set
            must be fetched by hand. Data sets already in ``data_root`` are left as they are.
    """
    wanted = {split.dataset: reader_of(split) for split in protocol.load(name).splits().values()}
    wanted = {dataset: reader for dataset, reader in wanted.items() if not reader.rendered}
    if os.path.lexists(data_root):
        location.require_folder(data_root)
    missing = [dataset for dataset in wanted if not os.path.lexists(data_root / dataset)]
    lines = [f"{data_root / dataset}: exists, left as it is" for dataset in wanted if dataset not in missing]
    open_ones = {dataset: each for dataset, each in downloads.listed().items() if dataset in missing}
    if open_ones and not accept_licences:
        terms = "; ".join(f"{dataset}: {each.licence}, {each.bytes >> 20} MB" for dataset, each in open_ones.items())
        raise UserError(f"{terms}. To accept these licences and download, add --accept-licences")
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bars:
        for dataset, each in open_ones.items():
            task = bars.add_task(dataset, total=None)
            place = downloads.get(
                dataset, each, data_root,
                lambda done, total, task=task: bars.update(task, completed=done, total=total),  # type: ignore[misc]
            )  # fmt: skip
            lines.append(f"{place}: {each.files} files; {each.licence}")
    by_hand = [f"{dataset}: {wanted[dataset].home}" for dataset in missing if dataset not in open_ones]
    if by_hand:
        print("\n".join(lines))
        raise UserError(f"to be downloaded by hand to {data_root}: {'; '.join(by_hand)}")
    return "\n".join(lines)


def render(name: str | None, output: Path | None) -> str:
    """Render what a protocol needs, or without a protocol everything; return the folder.

    Raises:
        UserError: the protocol or a split of it is unknown, or the folder cannot be written.
    """
    from benchmark.data import streets

    everything = [part for dataset in streets.COUNTS for part in streets.parts(dataset)]
    wanted = location.needed(protocol.load(name), None) if name else everything
    return str(location.render(output, wanted, Console(stderr=True)))
