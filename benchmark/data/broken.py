"""Files that broke off in a download or a copy, found before anything is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

from benchmark.data.samples import Sample, SampleReader

ENDS = {b"\x89P": b"IEND\xaeB`\x82", b"\xff\xd8": b"\xff\xd9"}
"""How PNG and JPEG begin, and how they end."""
READ = 64
"""How many suspects are read; a program that wrote something behind the end of every file shall not cost an hour."""
PART = 256
"""Pairs that a thread looks at, one after the other."""


def refuse_broken(reader: SampleReader, samples: Sequence[Sample]) -> None:
    """Read those pairs of which a file does not end as its format does; the first that broke off is named.

    Only reading tells, since other bytes may follow a format's end. What else may be wrong with a file,
    ``data check`` finds.

    Raises:
        UserError: see ``Reader.read``.
    """
    parts = [samples[start : start + PART] for start in range(0, len(samples), PART)]
    with ThreadPoolExecutor(8) as pool:
        for sample in islice(chain.from_iterable(pool.map(_suspects, parts)), READ):
            reader.read(sample)


def _suspects(samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in samples if not (_ends(sample.image) and _ends(sample.label))]


def _ends(path: Path) -> bool:
    try:
        with path.open("rb", buffering=0) as file:
            end = ENDS.get(file.read(2))
            if end is None:
                return False
            file.seek(-len(end), 2)
            return file.read() == end
    except OSError:
        return False
