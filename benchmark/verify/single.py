"""Checks of one record by itself: its place, its fingerprint, where it was computed, and implausible values."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from benchmark import protocol
from benchmark.common.errors import UserError
from benchmark.records import SOURCE, Record
from benchmark.records.model import TOLERANCE
from benchmark.tables.comparable import as_protocol
from benchmark.verify.fault import Fault

PACKAGES = ("python", "dgss-benchmark", "torch", "timm", "numpy")
"""Versions that every record has."""
MACHINE = ("system", "processor", "cores")
"""Facts about the machine that every record has."""
COMMIT = re.compile(r"[0-9a-f]{40}")
CHANGES = "+changes"
HIGHEST = 0.99
"""Largest plausible mIoU on a domain; people who label the same image twice agree less than that."""
CLOCK = timedelta(days=1)
"""Difference between two machines' clocks that is tolerated."""


def checks(record: Record) -> Iterator[Fault | str]:
    """Yield every fault of a record, as a :class:`Fault` or as the line of a :class:`UserError`."""
    yield from _place(record)
    yield from _fingerprint(record)
    yield from _provenance(record)
    yield from _times(record)
    if record.state == "finished":
        yield from _scores(record)
        yield from _cost(record)
    if record.state == "finished" and record.trained is None:
        yield from _evaluations(record)
        yield from _losses(record)
    yield from _given(record)


def _place(record: Record) -> Iterator[Fault]:
    """Check that the folders and the name of the file say what the record says."""
    assert record.path is not None
    stated = record.path.resolve().with_suffix("").parts[-4:]
    for field, folder, value in zip(
        ("protocol", "backbone", "method", "seed"), stated, record.name.split("/"), strict=False
    ):
        if folder != value:
            yield Fault.of(record, field, f"{value}, but the file is in {folder}", f"move it to {record.name}.json")


def _fingerprint(record: Record) -> Iterator[Fault | str]:
    """Check the fingerprint against the recorded protocol, and that against the current one of the same name."""
    fields = record.protocol_fields
    found = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    if found != record.fingerprint:
        yield Fault.of(record, "fingerprint", f"{record.fingerprint[:12]}, but {found[:12]} is that of protocol_fields")
        return
    if fields.get("name") != record.protocol:
        yield Fault.of(record, "protocol_fields.name", f"{fields.get('name')!r}, but protocol is {record.protocol!r}")
        return
    try:
        fixed = protocol.shipped(record.protocol)
        if fixed is not None:
            as_protocol([record], fixed)
    except UserError as error:
        line = str(error)
        yield line if line.startswith(str(record.path)) else Fault.of(record, "protocol", line)


def _provenance(record: Record) -> Iterator[Fault]:
    for field, names in (("versions", PACKAGES), ("machine", MACHINE)):
        stated = getattr(record, field)
        for name in names:
            if not stated.get(name):
                yield Fault.of(record, f"{field}.{name}", "missing")
    if record.commit is not None and not COMMIT.fullmatch(record.commit.removesuffix(CHANGES)):
        yield Fault.of(record, "commit", f"{record.commit[:48]!r} is not a commit")
    elif record.commit is not None and record.commit.endswith(CHANGES):
        yield Fault.of(record, "commit", "the source had uncommitted changes", "commit them and run it again")


def _times(record: Record) -> Iterator[Fault]:
    if record.finished < record.started:
        yield Fault.of(record, "finished", f"{record.finished}, before it started ({record.started})")
    if record.finished > datetime.now(timezone.utc) + CLOCK:
        yield Fault.of(record, "finished", f"{record.finished}, which is in the future")


def _scores(record: Record) -> Iterator[Fault]:
    for domain, score in record.scores().items():
        field = SOURCE if domain == SOURCE else f"targets.{domain}"
        if score.miou > HIGHEST:
            yield Fault.of(record, f"{field}.miou", f"{score.miou:.4f} is implausible (above {HIGHEST})")
        split = record.protocol_fields.get("validation") if domain == SOURCE else _target(record, domain)
        if not isinstance(split, dict):
            continue
        frames, limit = split.get("frames"), split.get("limit")
        if isinstance(frames, list) and score.images != min(len(frames), limit or len(frames)):
            yield Fault.of(record, f"{field}.images", f"{score.images}, but the protocol names {len(frames)} frames")
        elif isinstance(limit, int) and score.images > limit:
            yield Fault.of(record, f"{field}.images", f"{score.images}, but the protocol has at most {limit}")


def _target(record: Record, domain: str) -> object:
    targets = record.protocol_fields.get("targets")
    return targets.get(domain) if isinstance(targets, dict) else None


def _cost(record: Record) -> Iterator[Fault]:
    for phase, seconds in record.seconds.items():
        if not math.isfinite(seconds) or seconds < 0:
            yield Fault.of(record, f"seconds.{phase}", f"{seconds}, which is no duration")
    if not sum(record.seconds.values()) > 0:
        yield Fault.of(record, "seconds", "no time was measured")
    if not record.cpu_seconds > 0:
        yield Fault.of(record, "cpu_seconds", "no CPU time was measured")
    memory = record.machine.get("memory_bytes")
    if not record.peak_memory_bytes:
        yield Fault.of(record, "peak_memory_bytes", "no memory was measured")
    elif isinstance(memory, int) and record.peak_memory_bytes > memory:
        yield Fault.of(record, "peak_memory_bytes", f"{record.peak_memory_bytes}, but the machine has {memory}")
    if record.moved and record.trainable is not None and not record.trainable.backbone + record.trainable.unreached:
        yield Fault.of(record, "moved", f"{record.moved} pre-trained values changed, but none was trainable")


def _evaluations(record: Record) -> Iterator[Fault]:
    """Check that the last evaluation is the score, and that ``oracle`` is the best of them."""
    for place, each in enumerate(record.evaluations):
        mean = math.fsum(each.targets.values()) / max(len(each.targets), 1)
        if abs(each.average - mean) > TOLERANCE:
            yield Fault.of(
                record, f"evaluations.{place}.average", f"{each.average}, but the mean of the targets is {mean}"
            )
    if not record.evaluations:
        yield Fault.of(record, "evaluations", "missing from a finished run")
        return
    last, length = record.evaluations[-1], record.protocol_fields.get("iterations")
    if last.iteration != length:
        yield Fault.of(record, "evaluations", f"the last is after {last.iteration} of {length} iterations")
    if record.average is None or abs(last.average - record.average) > TOLERANCE:
        yield Fault.of(record, "average", f"{record.average}, but the last evaluation has {last.average}")
    best = max(each.average for each in record.evaluations)
    if record.oracle not in record.evaluations or record.oracle.average < best:
        yield Fault.of(record, "oracle", "not the best of the evaluations")


def _losses(record: Record) -> Iterator[Fault]:
    steps = [step for step, _ in record.losses]
    if steps != sorted(set(steps)):
        yield Fault.of(record, "losses", "iterations do not increase")
    for step, losses in record.losses:
        if (name := next((name for name, value in losses.items() if value is None), None)) is not None:
            yield Fault.of(record, "losses", f"{name} is not finite after iteration {step} of a finished run")
            return


def _given(record: Record) -> Iterator[Fault]:
    """Check that hyperparameters in the method's name, and those with an origin, are those of the settings."""
    given = record.method.partition("[")[2].removesuffix("]")
    for name, _, value in (part.partition("=") for part in re.split(r",(?=[\w.]+=)", given) if part):
        if str(record.settings.get(name)) != value:
            yield Fault.of(
                record, f"settings.{name}", f"{record.settings.get(name)}, but the method's name says {value}"
            )
    if record.origins.keys() != record.settings.keys():
        odd = sorted(record.origins.keys() ^ record.settings.keys())[0]
        yield Fault.of(record, f"origins.{odd}", "hyperparameters and origins have different names")
