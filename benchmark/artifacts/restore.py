"""A finished run's model, from its record and the weights that lie beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark.artifacts.adapter import apply_tuned
from benchmark.artifacts.delta import SHORT, apply_delta, load_decoder
from benchmark.common.errors import UserError
from benchmark.models.backbone import build_backbone
from benchmark.models.decoders import build_decoder
from benchmark.models.segmenter import Segmenter
from benchmark.models.weights import weight_hash
from benchmark.protocol import Protocol, explain
from benchmark.records import Record, content, read

HUB = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)@(?P<commit>\w+) \(SHA-256 \w+\)")
FILE = re.compile(r"(?P<file>.+) \(SHA-256 \w+\)")
EMBEDDED = "embedded weights "


def restore(source: Record | Path, weights: Path | None = None) -> Segmenter:
    """Build a run's model with the weights that it ended with, in eval mode.

    Args:
        source: a record that was read, or its file; its files of weights lie beside it.
        weights: the backbone's pre-trained weights, where the run had them from ``--weights``.

    Raises:
        UserError: no weights were kept; files that are not the record's; other pre-trained weights than the run's.
    """
    record = source if isinstance(source, Record) else read(source)
    require_weights(record)
    protocol, backbone = protocol_of(record), build_backbone(record.backbone, **arguments(record, weights))
    found, facts = weight_hash(backbone), {name: fact for name, fact in backbone.facts().items() if name != "origin"}
    if found != record.weights_hash:
        raise UserError(
            f"{record.path}: was run on pre-trained weights {record.weights_hash[:SHORT]}"
            f"{_origin(record)}, and these are {found[:SHORT]}; give those with --weights FILE"
        )
    if record.vfm and {**record.vfm, "origin": ""} != {**facts, "origin": ""}:
        raise UserError(f"{record.path}: vfm: {record.backbone} was another then; use the program that made the record")
    decoder = build_decoder(protocol.decoder, backbone.embed_dim, len(record.classes), record.seed)
    if record.delta is not None:
        apply_delta(backbone, _verified(record, "delta"))
    else:
        method = apply_tuned(backbone, _verified(record, "tuned"))
        if (queries := method.queries()) is not None:
            decoder.link(queries, record.seed)
    load_decoder(decoder, _verified(record, "decoder"))
    segmenter = Segmenter(backbone, decoder)
    segmenter.eval()
    return segmenter


def require_weights(record: Record) -> None:
    """Check that a run has kept its weights.

    Raises:
        UserError: it has not.
    """
    if record.decoder is None or (record.delta is None and record.tuned is None):
        why = "the run failed" if record.state == "failed" else "the record is older than they are; run it with --force"
        raise UserError(f"{record.path}: no weights beside it: {why}")


def protocol_of(record: Record) -> Protocol:
    """Return the protocol that a record was made under, from the record alone.

    Raises:
        UserError: fields that make no protocol, or another one than the fingerprint says.
    """
    fields: dict[str, Any] = {**record.protocol_fields, "title": record.protocol, "backbone": record.backbone}
    try:
        protocol = Protocol.model_validate(fields)
    except ValidationError as error:
        raise UserError(f"{record.path}: protocol_fields: {explain(error, Protocol)}") from None
    if protocol.fingerprint() != record.fingerprint:
        raise UserError(f"{record.path}: protocol_fields: not those of the fingerprint; run it again with --force")
    return protocol


def arguments(record: Record, weights: Path | None = None) -> dict[str, Any]:
    """Return how to build a run's backbone: the arguments of ``build_backbone``, the hub's revision pinned."""
    given = record.protocol_fields.get("vfm")
    how: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
    if weights is not None:
        return {**how, "weights": weights}
    hub = HUB.fullmatch(_text(record))
    return {**how, "revision": hub["commit"]} if hub else how


def weights_file(record: Record) -> str | None:
    """Return the name of the file that a run had its pre-trained weights from; None for embedded ones and the hub's."""
    text = _text(record)
    file = None if HUB.fullmatch(text) or text.startswith(EMBEDDED) else FILE.fullmatch(text)
    return file["file"] if file else None


def repository(record: Record) -> str | None:
    """Return the hub's repository that a run had its pre-trained weights from, if it is from there."""
    hub = HUB.fullmatch(_text(record))
    return hub["repository"] if hub else None


def _text(record: Record) -> str:
    return str(record.vfm.get("origin", ""))


def _origin(record: Record) -> str:
    return f" ({_text(record)})" if record.vfm else ""


def _verified(record: Record, field: str) -> Path:
    """Return where a file beside a record lies, once its hash is known to be the record's."""
    content(record, field)
    assert record.path is not None
    return record.path.with_name(Path(getattr(record, field).file).name)
