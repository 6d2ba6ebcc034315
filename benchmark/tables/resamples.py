"""Bootstrap resamples of every run's mIoU, computed once per confusion file and cached on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from uuid import uuid4

import numpy as np

from benchmark.common import reading, statistics
from benchmark.common.errors import UserError
from benchmark.common.statistics import Floats, image_weights, resampled_miou
from benchmark.data import location
from benchmark.records import Record, confusions, content

REPLICATES = 1000
DIGEST = hashlib.sha256().digest_size


class Resamples:
    """Resampled mIoU of runs, computed on demand: without a clear leader, most confusion files are never read."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Floats]] = {}
        self._ids: dict[str, tuple[Record, bytes]] = {}

    def of(self, record: Record, domains: Sequence[str]) -> Floats:
        """Return a run's mIoU averaged over ``domains`` in each replicate: shape (replicates,).

        Raises:
            UserError: the run's confusion file is missing, or is of other images than another run's.
        """
        known = self._known.get(record.name)
        if known is None:
            known = self._known[record.name] = self._resample(record)
        return known[domains[0]] if len(domains) == 1 else np.asarray(np.mean([known[each] for each in domains], 0))

    def _resample(self, record: Record) -> dict[str, Floats]:
        content(record, "confusion")  # raises if the file does not belong to the record
        domains = list(record.scores())
        found = _kept(record, len(domains)) or _computed(record, domains)
        for domain, ids in zip(domains, found[0], strict=True):
            other, theirs = self._ids.setdefault(f"{record.protocol}/{domain}", (record, ids))
            if theirs != ids:
                raise UserError(
                    f"{record.path} and {other.path}: evaluated on different images of {domain}; "
                    "run one of them again with --force"
                )
        return dict(zip(domains, found[1], strict=True))


def _computed(record: Record, domains: Sequence[str]) -> tuple[list[bytes], Floats]:
    """Return a digest of each domain's image names, and the resampled mIoU: (domains, replicates)."""
    matrices, ids = confusions(record)
    digests = [hashlib.sha256("\n".join(ids[domain]).encode()).digest() for domain in domains]
    resampled = np.stack([resampled_miou(matrices[each], _weights(each, len(ids[each]))) for each in domains])
    packed = resampled.astype(np.float32)
    body = b"".join(digests) + packed.tobytes()
    place = _place(record)
    with suppress(OSError):  # without a writable cache only the speed-up is lost
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.{uuid4().hex}.tmp")
        temporary.write_bytes(hashlib.sha256(body).digest() + body)
        temporary.replace(place)
    return digests, packed.astype(np.float64)  # rounded as in the cache, so that a rebuilt table is identical


def _kept(record: Record, domains: int) -> tuple[list[bytes], Floats] | None:
    """Return the result of :func:`_computed` from the cache; None if it is missing or damaged."""
    try:
        packed = reading.read_bytes(_place(record))
    except OSError:
        return None
    body = packed[DIGEST:]
    if hashlib.sha256(body).digest() != packed[:DIGEST]:
        return None
    digests = [body[DIGEST * index : DIGEST * (index + 1)] for index in range(domains)]
    values = np.frombuffer(body, np.float32, offset=DIGEST * domains).reshape(domains, REPLICATES)
    return digests, values.astype(np.float64)


def _place(record: Record) -> Path:
    """Return the cache file of a run's resamples, named after a hash of everything they depend on."""
    assert record.confusion is not None
    order = "/".join(record.scores())
    name = hashlib.sha256(f"{_code()} {record.confusion.sha256} {order}".encode()).hexdigest()
    return location.cache() / "resamples" / name[:2] / name


@cache
def _code() -> str:
    """Return a hash of the resampling code: another version has its own cache entries."""
    sources = (Path(statistics.__file__), Path(__file__))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


@cache
def _weights(domain: str, images: int) -> Floats:
    return image_weights(domain, images, REPLICATES)
