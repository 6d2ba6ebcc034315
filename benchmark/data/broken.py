"""Find truncated image files before training starts."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

from benchmark.common import reading
from benchmark.data.samples import Sample, SampleReader

ENDS = {b"\x89P": b"IEND\xaeB`\x82", b"\xff\xd8": b"\xff\xd9"}
"""First bytes of PNG and JPEG files, and the last bytes of each."""
READ = 64
"""Limit on the suspects decoded: some tools append data to every file, and decoding all could take an hour."""
PART = 256
"""Number of pairs per task of the thread pool."""


def refuse_broken(reader: SampleReader, samples: Sequence[Sample]) -> None:
    """Raise on the first pair with a truncated file.

    Only pairs with a file that lacks its format's end marker are decoded; such a file may still be intact, since other
    bytes may follow the marker. ``data check`` finds other faults.

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
        reading.require_regular(path)
        with path.open("rb", buffering=0) as file:
            end = ENDS.get(file.read(2))
            if end is None:
                return False
            file.seek(-len(end), 2)
            return file.read() == end
    except OSError:
        return False
