"""Checks that the records in a table or figure come from runs under identical conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmark.common.errors import UserError
from benchmark.protocol import Protocol
from benchmark.records import Record

SHARED = ("data_hash", "contents_hash", "weights_hash", "classes", "scored_in")
OF_SEED = ("batches_hash", "decoder_hash")
OF_BACKBONE = ("weights_hash", "decoder_hash")


def check(records: Sequence[Record], *, use: str = "table", across: bool = False) -> None:
    """Check that protocol, data and pre-trained weights agree, and batches and decoder initialisation per seed.

    Args:
        records: records of one protocol, and of one backbone unless ``across``.
        use: ``table`` or ``figure``, for the error message.
        across: allow several backbones, each with its own weights and decoder initialisation.

    Raises:
        UserError: two records differ; the message names both and the field.
    """
    for record in records[1:]:
        _check_pair(records[0], record, use)
    for name in (*SHARED, *OF_SEED):
        first: dict[tuple[int | None, str], Record] = {}
        for record in records:
            value = getattr(record, name)
            if not value:  # not recorded: the run failed early
                continue
            backbone = record.backbone if across and name in OF_BACKBONE else ""
            other = first.setdefault((record.seed if name in OF_SEED else None, backbone), record)
            if getattr(other, name) != value:
                found = f"{name} is {_short(getattr(other, name))} in one, {_short(value)} in the other"
                _refuse(other, record, found, use)
    _check_budgets(records, use)
    noted: dict[str, Record] = {}
    for record in records:
        if not record.vfm:
            continue
        other = noted.setdefault(record.backbone, record)
        # The same weights may come from a file or from the hub; their hash is compared above.
        left, right = ({**each.vfm, "origin": None} for each in (other, record))
        if differs := difference(left, right, "vfm"):
            place, theirs, ours = differs
            _refuse(other, record, f"{place} is {_short(theirs)} in one, {_short(ours)} in the other", use)


def as_protocol(records: Sequence[Record], fixed: Protocol) -> None:
    """Check that records of protocol ``fixed`` were created under its current version.

    Raises:
        UserError: a record differs; the message names it and the field.
    """
    expected = fixed.fingerprint()
    for record in records:
        if record.fingerprint == expected:
            continue
        place, theirs, ours = difference(record.protocol_fields, fixed.fields()) or (
            "fingerprint", record.fingerprint, expected,
        )  # fmt: skip
        raise UserError(
            f"{record.path or record.name}: does not match the current protocol {fixed.name}: {place} is "
            f"{_short(theirs)} in the record, {_short(ours)} in the protocol; run it again with --force, or move the "
            "record to another folder"
        )


def _check_budgets(records: Sequence[Record], use: str) -> None:
    """Refuse records in which an estimate took training iterations without saying so, beside newer ones."""
    old = [record for record in records if "estimate" in record.seconds and "budget" not in record.settings]
    new = [record for record in records if record.gradient_evaluations]
    if old and new:
        found = "budget is shared in the older one: its estimate took training iterations that other methods kept"
        _refuse(old[0], new[0], found, use)


def _check_pair(one: Record, other: Record, use: str) -> None:
    found = difference(one.protocol_fields, other.protocol_fields)
    if found:
        place, left, right = found
        _refuse(one, other, f"protocol field {place} is {_short(left)} in one, {_short(right)} in the other", use)
    if one.fingerprint != other.fingerprint:
        left, right = _short(one.fingerprint), _short(other.fingerprint)
        _refuse(one, other, f"fingerprint is {left} in one, {right} in the other", use)


def difference(left: Any, right: Any, place: str = "") -> tuple[str, Any, Any] | None:
    """Return the dotted path of the first difference between two JSON values, and both values at that path."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in [*left, *(key for key in right if key not in left)]:
            inner = f"{place}.{key}" if place else str(key)
            found = difference(left.get(key), right.get(key), inner)
            if found:
                return found
        return None
    return None if left == right else (place, left, right)


def _refuse(one: Record, other: Record, what: str, use: str) -> None:
    raise UserError(
        f"{one.path or one.name} and {other.path or other.name} cannot share a {use}: {what}; "
        "run one of them again with --force, or move one to another folder"
    )


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"
