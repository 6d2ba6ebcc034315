"""Compare the files of a dataset with the hashes of its release, where a list of them is known.

The lists in ``hashes/`` were computed from the downloads of ``downloads.yaml``. ``b2sum -l 128 --check LIST``, run in
the folder of the dataset, compares the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from benchmark.data import contents
from benchmark.data.samples import Sample

LISTS = Path(__file__).with_name("hashes")


@dataclass(frozen=True)
class Comparison:
    """Files of a dataset beside the hashes of its release.

    Attributes:
        compared: number of files.
        differing: those whose contents are not those of the release, or which it does not have.
    """

    compared: int
    differing: tuple[Path, ...]


@cache
def listed(dataset: str) -> Mapping[str, bytes]:
    """Return the digests of a release by path below the dataset's folder; none if no list is known."""
    try:
        text = (LISTS / f"{dataset}.b2sum").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    return {path: bytes.fromhex(digest) for digest, path in (line.split("  ", 1) for line in text.splitlines())}


def compare(dataset: str, root: Path, samples: Sequence[Sample]) -> Comparison | None:
    """Compare the files of samples with the list of the dataset's release.

    A file is read only if its path, size or time of the last change differs from when it was last read.

    Args:
        dataset: its name.
        root: its folder.
        samples: frames below it.

    Returns:
        None if no list is known, or only one of another layout.

    Raises:
        UserError: a file cannot be read.
    """
    wanted = listed(dataset)
    pairs = [tuple((path, _place(path, root, wanted)) for path in (each.image, each.label)) for each in samples]
    if not any(all(place in wanted for _, place in pair) for pair in pairs):  # copies share some names, but never both
        return None
    places = {path: place for pair in pairs for path, place in pair}
    found = contents.digests(places)
    differing = sorted(path for path, digest in found.items() if digest != wanted.get(places[path]))
    return Comparison(len(found), tuple(differing))


def _place(path: Path, root: Path, wanted: Mapping[str, bytes]) -> str:
    """Return the path below the dataset's folder, or below the folder in it that some archives have."""
    inner = PurePosixPath(path.relative_to(root).as_posix())
    deeper = str(PurePosixPath(*inner.parts[1:]))
    return deeper if str(inner) not in wanted and deeper in wanted else str(inner)
