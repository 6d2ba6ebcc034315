"""The run whose model predicts: from records, an exported folder, or an exported file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmark.artifacts.restore import exported, protocol_of, require_weights, restore, restore_exported
from benchmark.common.errors import UserError
from benchmark.common.temporary import REMEDY, temporary_folder
from benchmark.labelsets import LabelSet
from benchmark.models.segmenter import Segmenter
from benchmark.protocol import Protocol
from benchmark.records import Record, find
from benchmark.records.store import paths
from benchmark.sharing import bundle
from benchmark.sharing.manifest import MANIFEST

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        record: its record.
        protocol: its protocol.
        labels: the classes that it predicts.
        build: builds its model, in eval mode.
    """

    record: Record
    protocol: Protocol
    labels: LabelSet
    build: Callable[[], Segmenter]


@contextmanager
def opened(which: str, records: Path, weights: Path | None) -> Iterator[Run]:
    """Find a run; its model can be built within the block.

    Args:
        which: a file that ``export --decoder`` wrote; a folder that ``export`` wrote, or one with a single record, such
            as ``pull`` fills; else as in :func:`benchmark.records.find`.
        records: folder of records.
        weights: file with the pre-trained weights of the backbone, if the run used ``--weights``.

    Raises:
        UserError: no such run or several; no weight files; damaged files.
    """
    if which.endswith(SUFFIX) and os.path.isfile(which):
        yield _run(exported(Path(which)), lambda: restore_exported(Path(which), weights))
    elif os.path.isfile(os.path.join(which, MANIFEST)):
        with temporary_folder() as folder:
            record = bundle.unpack(bundle.read_folder(Path(which)), which, folder, REMEDY)
            yield _run(record, lambda: _named(record, weights, folder, which))
    else:
        record = find(_only(which), records)
        yield _run(record, lambda: restore(record, weights))


def _run(record: Record, build: Callable[[], Segmenter]) -> Run:
    require_weights(record)
    protocol = protocol_of(record)
    labels = protocol.label_set()
    if labels.names != record.classes:
        raise UserError(
            f"{record.path}: classes: not those of label set {labels.name!r}; use the program version that wrote it"
        )
    return Run(record, protocol, labels, build)


def _only(which: str) -> str:
    """Return the only record below a folder; any other name is returned as it is.

    Raises:
        UserError: there are several.
    """
    found = list(paths(Path(which))) if os.path.isdir(which) else []
    if len(found) > 1:
        raise UserError(f"{which}: contains {len(found)} records; give one of: {', '.join(map(str, found))}")
    return str(found[0]) if found else which


def _named(record: Record, weights: Path | None, folder: Path, origin: str) -> Segmenter:
    """Restore a run from a temporary folder, whose name messages replace by that of the exported folder."""
    try:
        return restore(record, weights)
    except UserError as error:
        raise UserError(str(error).replace(str(folder), origin)) from None
