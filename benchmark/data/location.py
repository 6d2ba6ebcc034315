"""Where data lies: the user's root, or the cache that holds the rendered default."""

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
    """Return the folder for what can be made again: ``$DGSS_BENCHMARK_CACHE``, else the system's usual place."""
    if os.environ.get(CACHE):
        return Path(os.environ[CACHE])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "dgss-benchmark"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dgss-benchmark"


def place_for(protocol: Protocol, given: Path | None) -> Path:
    """Return the folder that holds the protocol's data sets, or will once these are rendered.

    Raises:
        UserError: the protocol needs ``--data-root`` and got none, or one that is no folder.
    """
    if given is not None:
        if not os.path.isdir(given):  # unlike Path.is_dir, no error where permission lacks
            raise UserError(f"--data-root {given}: no such folder, or none that you may look into")
        return given.resolve()
    if protocol.rendered is None:
        raise UserError(
            f"protocol {protocol.name} needs --data-root: a folder that holds {', '.join(_folders(protocol))}, each as "
            f"its download unpacks; python -m benchmark data check --protocol {protocol.name} --data-root DIR says "
            "what is missing and where to get it"
        )
    return rendered()


def require(protocol: Protocol, place: Path) -> None:
    """Check that ``place`` has a folder for every data set of the protocol.

    Raises:
        UserError: some are missing; all of these are named.
    """
    missing = [name for name in _folders(protocol) if not os.path.isdir(place / name)]
    if missing:
        raise UserError(
            f"--data-root {place}: no folder {', '.join(missing)}; python -m benchmark data check --protocol "
            f"{protocol.name} --data-root {place} says where to get it"
        )


def make_ready(protocol: Protocol, place: Path, console: Console) -> None:
    """Render what the protocol needs into ``place``, if that is the cache's; nothing is done to a user's folder."""
    if protocol.rendered is not None and place == rendered():
        render(place, console)


def data_root_for(protocol: Protocol, given: Path | None, console: Console) -> Path:
    """Return the folder that holds the protocol's data sets; renders the embedded default on first use.

    Raises:
        UserError: as :func:`place_for`.
    """
    place = place_for(protocol, given)
    make_ready(protocol, place, console)
    return place


def render(root: Path | None, console: Console) -> Path:
    """Render the embedded streets below ``root`` (default: the cache) unless they are there; return the root."""
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
    """Return the folder that holds the rendered data sets, or will."""
    from benchmark.data import streets

    return cache() / f"streets-{streets.VERSION}"
