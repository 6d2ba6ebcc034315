"""Find the data root: the user's folder, or the cache with the rendered default datasets."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from benchmark.common.errors import UserError
from benchmark.protocol import Protocol

CACHE = "DGSS_BENCHMARK_CACHE"


def cache() -> Path:
    """Return the cache folder: ``$DGSS_BENCHMARK_CACHE`` if set, else the platform's default."""
    if os.environ.get(CACHE):
        return Path(os.environ[CACHE])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "dgss-benchmark"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dgss-benchmark"


def place_for(protocol: Protocol, given: Path | None) -> Path:
    """Return the data root of the protocol; the rendered default need not exist yet.

    Raises:
        UserError: the protocol needs ``--data-root`` and none was given, or it is not a folder.
    """
    if given is not None:
        if not os.path.isdir(given):  # unlike Path.is_dir, does not raise without permission
            raise UserError(f"--data-root {given}: no such folder, or no permission to read it")
        return given.resolve()
    if protocol.rendered is None:
        raise UserError(
            f"protocol {protocol.name} needs --data-root: a folder that contains {', '.join(_folders(protocol))}, each "
            f"as unpacked from its download; to see what is missing and where to get it, run: "
            f"python -m benchmark data check --protocol {protocol.name} --data-root DIR"
        )
    return rendered()


def require(protocol: Protocol, place: Path) -> None:
    """Check that the folder ``place`` contains a folder for every dataset of the protocol.

    Raises:
        UserError: some folders are missing; the message names all of them.
    """
    missing = [name for name in _folders(protocol) if not os.path.isdir(place / name)]
    if missing:
        raise UserError(
            f"--data-root {place}: no folder {', '.join(missing)}; to see where to get it, run: "
            f"python -m benchmark data check --protocol {protocol.name} --data-root {place}"
        )


def make_ready(protocol: Protocol, place: Path, console: Console) -> None:
    """Render the protocol's datasets if ``place`` is the cache; a user's folder is left unchanged."""
    if protocol.rendered is not None and place == rendered():
        render(place, console)


def data_root_for(protocol: Protocol, given: Path | None, console: Console) -> Path:
    """Return the data root of the protocol; the default datasets are rendered on first use.

    Raises:
        UserError: see :func:`place_for`.
    """
    place = place_for(protocol, given)
    make_ready(protocol, place, console)
    return place


def render(root: Path | None, console: Console) -> Path:
    """Render the default datasets below ``root`` (default: the cache) unless they exist; return the root."""
    from benchmark.data import streets

    place = root or rendered()
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bars:
        task = bars.add_task("rendering streets", total=None)
        streets.prepare(
            place, workers=os.cpu_count() or 1,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )  # fmt: skip
    return place


def _folders(protocol: Protocol) -> list[str]:
    return sorted({f"{split.dataset}/" for split in protocol.splits().values()})


def rendered() -> Path:
    """Return the cache folder of the rendered datasets, which may not exist yet."""
    from benchmark.data import streets

    return cache() / f"streets-{streets.VERSION}"
