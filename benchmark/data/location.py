"""Find the datasets: below the user's data root, or, for rendered ones that it does not contain, in the cache."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.data.elsewhere import likely_fix
from benchmark.protocol import Protocol, argument

if TYPE_CHECKING:
    from benchmark.data import streets

CACHE = "DGSS_BENCHMARK_CACHE"


def cache() -> Path:
    """Return the cache folder: ``$DGSS_BENCHMARK_CACHE`` if set, else the platform's default."""
    if os.environ.get(CACHE):
        return Path(os.environ[CACHE])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "dgss-benchmark"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dgss-benchmark"


def folder_of(dataset: str, data_root: Path | None) -> Path:
    """Return the folder of a dataset, which need not exist.

    Args:
        dataset: its name.
        data_root: the user's folder, which contains one folder per dataset; None if there is none.

    Raises:
        UserError: the dataset is unknown, or it is not rendered and there is no data root.
    """
    if in_cache(dataset, data_root):
        return rendered() / dataset
    if data_root is None:
        raise UserError(f"{dataset}: give --data-root")
    return data_root / dataset


def in_cache(dataset: str, data_root: Path | None) -> bool:
    """Return whether a dataset is rendered to the cache: the data root has no folder of its name.

    Raises:
        UserError: the dataset is unknown.
    """
    if data_root is not None and os.path.isdir(data_root / dataset):
        return False
    return bool(registry.find("dataset", dataset).rendered)


def to_download(protocol: Protocol) -> list[str]:
    """Return the protocol's datasets that are not rendered, sorted.

    Raises:
        UserError: a dataset is unknown.
    """
    names = {split.dataset for split in protocol.splits().values()}
    return sorted(name for name in names if not registry.find("dataset", name).rendered)


def place_for(protocol: Protocol, given: Path | None) -> Path | None:
    """Return the data root for the protocol: the folder ``given``, or None if the protocol needs none.

    Raises:
        UserError: the protocol needs ``--data-root`` and none was given; it is not a folder, or evidently a folder
            above or below the right one; see also :func:`needed`.
    """
    names = to_download(protocol)
    if given is not None:
        require_folder(given)
        if fix := likely_fix(given.resolve(), names):
            raise UserError(f"--data-root {given}: {fix}")
        needed(protocol, given)
        return given.resolve()
    if names:
        raise UserError(
            f"protocol {protocol.name} needs --data-root: a folder that contains {_folders(names)}, each as unpacked "
            f"from its download; to see what is missing and where to get it, run: "
            f"python -m benchmark data check --protocol {argument(protocol)} --data-root DIR"
        )
    needed(protocol, None)
    return None


def require_folder(data_root: Path) -> None:
    """Check that the data root is a folder.

    Raises:
        UserError: it is not.
    """
    if os.path.isdir(data_root):  # unlike Path.is_dir, does not raise without permission
        return
    if os.path.isfile(data_root):
        raise UserError(
            f"--data-root {data_root}: a file, not a folder; give the folder that contains one folder per data set"
        )
    if os.path.lexists(data_root):
        raise UserError(f"--data-root {data_root}: not a folder, or a link to none; give the folder itself")
    raise UserError(f"--data-root {data_root}: no such folder, or no permission to read it")


def require(protocol: Protocol, place: Path | None) -> None:
    """Check that there is a folder for every dataset of the protocol.

    Raises:
        UserError: some folders are missing; the message names all of them.
    """
    missing = [name for name in to_download(protocol) if not os.path.isdir(folder_of(name, place))]
    for path in (folder_of(name, place) for name in missing):
        if os.path.lexists(path):
            raise UserError(f"{path}: a file or a link to nothing; put the folder of that name in its place")
    if missing:
        raise UserError(
            f"--data-root {place}: no folder {_folders(missing)}; to see where to get it, run: "
            f"python -m benchmark data check --protocol {argument(protocol)} --data-root {place}"
        )


def make_ready(protocol: Protocol, place: Path | None, console: Console) -> None:
    """Render what the protocol needs to the cache; the user's folder is left unchanged.

    Raises:
        UserError: a split of the protocol does not exist, or the cache cannot be written.
    """
    render(None, needed(protocol, place), console)


def needed(protocol: Protocol, place: Path | None) -> list[streets.Part]:
    """Return the parts of rendered datasets that the protocol reads from the cache.

    Raises:
        UserError: a dataset, or a split of a rendered one, is unknown.
    """
    from benchmark.data import streets

    found = []
    for name, split in protocol.splits().items():
        if in_cache(split.dataset, place):
            try:
                found.append(streets.find_part(split.dataset, split.split))
            except UserError as error:
                raise UserError(f"protocol {protocol.name}: {name}: {error}") from None
    return found


def data_root_for(protocol: Protocol, given: Path | None, console: Console) -> Path | None:
    """Return :func:`place_for` the protocol, and render what it needs.

    Raises:
        UserError: see :func:`place_for` and :func:`make_ready`.
    """
    place = place_for(protocol, given)
    make_ready(protocol, place, console)
    return place


def render(root: Path | None, parts: Iterable[streets.Part], console: Console) -> Path:
    """Render parts of rendered datasets below ``root`` (default: the cache) unless they exist; return the root."""
    from benchmark.data import streets

    place = root or rendered()
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bars:
        task = bars.add_task("rendering streets", total=None)
        streets.prepare(
            place, parts, workers=os.cpu_count() or 1,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )  # fmt: skip
    return place


def _folders(names: Iterable[str]) -> str:
    return ", ".join(f"{name}/" for name in names)


def rendered() -> Path:
    """Return the cache folder of the rendered datasets, which may not exist yet."""
    from benchmark.data import streets

    return cache() / f"streets-{streets.VERSION}"
