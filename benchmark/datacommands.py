"""``python -m benchmark data …``: every command works on the domains of a protocol."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from benchmark import protocol, roots
from benchmark.data.check import check_tree
from benchmark.data.show import Row, contact_sheet
from benchmark.domains import Domain, reader_of
from benchmark.errors import UserError


def show(name: str, data_root: Path | None, output: Path, columns: int) -> str:
    """Draw images of every domain beside their labels; return where the picture is.

    Raises:
        UserError: no data, a bad file, or a path that no picture can be written to.
    """
    fixed = protocol.load(name)
    root = roots.data_root_for(fixed, data_root, Console(stderr=True))
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


def check(name: str, data_root: Path | None) -> None:
    """Open every file that the protocol needs and print what was found.

    Raises:
        UserError: a folder is missing, or files are; all domains are looked at first.
    """
    console = Console(stderr=True)
    fixed = protocol.load(name)
    root = roots.data_root_for(fixed, data_root, console)
    bad = []
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bars:
        for title, split in fixed.splits().items():
            task = bars.add_task(title, total=None)
            try:
                report = check_tree(
                    reader_of(split), root / split.dataset, split.split, limit=split.limit,
                    tick=lambda done, total, task=task: bars.update(task, completed=done, total=total),  # type: ignore[misc]
                )  # fmt: skip
            except UserError as error:
                print(f"{title}: {error}")
                bad.append(title)
                continue
            print(report.text())
            if not report.whole:
                bad.append(title)
    if bad:
        raise UserError(f"{root}: {', '.join(bad)}: not as protocol {fixed.name} needs it; see the lines above")


def render(output: Path | None) -> str:
    """Render the embedded default; return where it lies."""
    return str(roots.render(output, Console(stderr=True)))
