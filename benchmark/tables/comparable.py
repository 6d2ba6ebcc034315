"""Whether records may stand in one table or figure: only those of runs under identical conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmark.common.errors import UserError
from benchmark.protocol import Protocol
from benchmark.records import Record

SHARED = ("data_hash", "weights_hash", "classes")
OF_SEED = ("batches_hash", "decoder_hash")
OF_BACKBONE = ("weights_hash", "decoder_hash")


def check(records: Sequence[Record], *, use: str = "table", across: bool = False) -> None:
    """Refuse to mix: protocol, data and pre-trained weights are one, and so are each seed's batches and decoder.

    Args:
        records: of one protocol, and of one backbone unless ``across``.
        use: what they cannot share, in the refusal's words.
        across: whether they may be of several backbones, with weights and a decoder for each.

    Raises:
        UserError: naming the field that differs, between which two records.
    """
    for record in records[1:]:
        _check_pair(records[0], record, use)
    for name in (*SHARED, *OF_SEED):
        first: dict[tuple[int | None, str], Record] = {}
        for record in records:
            value = getattr(record, name)
            if not value:  # a run that failed early does not know it
                continue
            backbone = record.backbone if across and name in OF_BACKBONE else ""
            other = first.setdefault((record.seed if name in OF_SEED else None, backbone), record)
            if getattr(other, name) != value:
                found = f"{name} is {_short(getattr(other, name))} in one, {_short(value)} in the other"
                _refuse(other, record, found, use)
    noted: dict[str, Record] = {}
    for record in records:
        if not record.vfm:
            continue
        other = noted.setdefault(record.backbone, record)
        # The same weights may come from a file or from the hub; their hash has been looked at.
        left, right = ({**each.vfm, "origin": None} for each in (other, record))
        if differs := difference(left, right, "vfm"):
            place, theirs, ours = differs
            _refuse(other, record, f"{place} is {_short(theirs)} in one, {_short(ours)} in the other", use)


def as_protocol(records: Sequence[Record], fixed: Protocol) -> None:
    """Refuse records that say they are of ``fixed`` and were made under other conditions.

    Raises:
        UserError: naming the record, and the field that differs.
    """
    expected = fixed.fingerprint()
    for record in records:
        if record.fingerprint == expected:
            continue
        place, theirs, ours = difference(record.protocol_fields, fixed.fields()) or (
            "fingerprint", record.fingerprint, expected,
        )  # fmt: skip
        raise UserError(
            f"{record.path or record.name}: not of protocol {fixed.name} as it is now: {place} is {_short(theirs)} "
            f"in the record, {_short(ours)} in the protocol; run it again with --force, or move it elsewhere"
        )


def _check_pair(one: Record, other: Record, use: str) -> None:
    found = difference(one.protocol_fields, other.protocol_fields)
    if found:
        place, left, right = found
        _refuse(one, other, f"protocol field {place} is {_short(left)} in one, {_short(right)} in the other", use)
    if one.fingerprint != other.fingerprint:
        left, right = _short(one.fingerprint), _short(other.fingerprint)
        _refuse(one, other, f"fingerprint is {left} in one, {right} in the other", use)


def difference(left: Any, right: Any, place: str = "") -> tuple[str, Any, Any] | None:
    """Return the dotted place of the first difference between two JSON values, and both values there."""
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
        "run one of them again with --force, or keep them in different folders"
    )


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"
