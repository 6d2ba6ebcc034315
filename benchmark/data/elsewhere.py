"""Where data sets are, if not where they should be: a level too deep or too high, or under another name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmark.common import registry


def remedy(paths: Sequence[Path], name: str, home: str, copies: Mapping[str, str]) -> str:
    """Return what to do about a folder of a data set that is missing, as the last part of a message.

    Args:
        paths: the places where the folder may be, below one with the data set's name.
        name: the data set's name.
        home: where to get the data set.
        copies: see :func:`benchmark.data.folders.first_folder`.
    """
    common = Path(os.path.commonpath([path.parent for path in paths]))
    root = next((folder for folder in (common, *common.parents) if folder.name == name), None)
    if root is None:
        return f"unpack {home} there"
    for path in paths:
        for found, advice in _places(root, path.relative_to(root)):
            if os.path.isdir(found):
                return f"{found} exists: {advice}"
    for copy, advice in copies.items():
        if os.path.isdir(root / copy):
            return f"{root / copy} exists: {advice}"
    return f"unpack {home} in {root}"


def likely_fix(root: Path, names: Sequence[str]) -> str:
    """Return what is wrong with a data root that lacks folders of data sets, and the likely fix; empty if not known.

    Args:
        root: an existing folder.
        names: of the data sets, as their folders must be called.
    """
    missing = [name for name in names if not os.path.isdir(root / name)]
    for name in missing:
        if os.path.isfile(root / name):
            return f"{name} is a file; unpack it to a folder {name}/"
        for below in _folders(root):
            if below.name.lower() == name:
                return f"it contains {below.name}/, which must be called {name}/: rename it"
    if not missing or len(missing) < len(names):  # some are here, so this is the data root
        return ""
    if root.name.lower() in missing:
        name = root.name.lower()
        rename = "" if name == root.name else f"rename it to {name} and "
        return f"this is the folder of {name} itself; {rename}give the folder above it: --data-root {root.parent}"
    for other in (
        *root.parents[:2],
        *_folders(root),
        *(inner for below in _folders(root) for inner in _folders(below)),
    ):
        for name in missing:
            if not os.path.isdir(other / name):
                continue
            level = "below" if other in root.parents else "above"
            return f"this is {level} the folder that contains {name}/; give --data-root {other}"
    return ""


def _places(root: Path, inner: Path) -> Iterator[tuple[Path, str]]:
    """Yield other places of the folder ``inner`` of the data set in ``root``, each with the move that puts it right."""
    first, *rest = inner.parts
    yield root / first / inner, f"move what is in {root / first / first} one folder up"
    for below in _folders(root):
        yield below / inner, f"move what is in {below} one folder up"
        name = below.name.lower()  # Images, or leftImg8bit_trainvaltest, as its archive
        if (name == first.lower() and below.name != first) or (rest and name.startswith(f"{first.lower()}_")):
            yield below.joinpath(*rest), f"rename {below} to {first}"
    yield root.parent / inner, f"if that is {root.name}, move {root.parent / first} to {root}"
    datasets = registry.names("dataset")
    for beside in _folders(root.parent):
        if beside.name not in datasets:
            yield beside / inner, f"if that is {root.name}, rename {beside} to {root.name}"


def _folders(where: Path) -> list[Path]:
    try:
        return sorted(path for path in where.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:  # nothing is suggested then
        return []
