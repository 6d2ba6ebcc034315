"""Restore the model of a finished run from its record and weight files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark.artifacts.adapter import apply_tuned
from benchmark.artifacts.delta import RECORD, SHORT, apply_delta, load_decoder, metadata
from benchmark.common.errors import UserError
from benchmark.method import Method
from benchmark.models.backbone import Backbone, build_backbone
from benchmark.models.decoders import build_decoder
from benchmark.models.segmenter import Segmenter
from benchmark.models.weights import parsed, read_bytes, weight_hash
from benchmark.protocol import Protocol, explain
from benchmark.records import Record, content, read
from benchmark.records.store import unpacked

HUB = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)@(?P<commit>\w+) \(SHA-256 \w+\)")
PACKAGE = re.compile(r"[\w.-]+==[\w.]+ \(SHA-256 \w+\)")
FILE = re.compile(r"(?P<file>.+) \(SHA-256 \w+\)")
EMBEDDED = "embedded weights "


def restore(source: Record | Path, weights: Path | None = None) -> Segmenter:
    """Build the model of a run with its final weights, in eval mode.

    Args:
        source: a record, or its file; the weight files must be in the same folder.
        weights: file with the pre-trained weights of the backbone, if the run used ``--weights``.

    Raises:
        UserError: no weight files; files that do not match the record; other pre-trained weights than the run used.
    """
    record = source if isinstance(source, Record) else read(source)
    require_weights(record)
    return _assembled(record, None, _verified(record, "decoder"), weights)


def restore_exported(file: Path, weights: Path | None = None) -> Segmenter:
    """Build the model of a run, in eval mode, from a file that ``export --decoder`` wrote.

    Raises:
        UserError: as :func:`exported` and :func:`restore`.
    """
    return _assembled(exported(file), file, file, weights)


def exported(file: Path) -> Record:
    """Return the record of the run in a file that ``export --decoder`` wrote; its path is that of the file.

    Raises:
        UserError: another file, a damaged one, or one without a decoder.
    """
    data = read_bytes(file)[0]
    parsed(data, file)
    facts = metadata(data)
    if RECORD not in facts:
        raise UserError(f"{file}: contains no decoder, or an older version wrote it; export it again with --decoder")
    record = unpacked(facts[RECORD].encode(), file, Record)
    record._path = file
    require_weights(record)
    return record


def _assembled(record: Record, trained: Path | None, head: Path, weights: Path | None) -> Segmenter:
    """Return the model of a run from the files of its trained tensors (None: the run's own) and of its decoder."""
    protocol, (backbone, method) = protocol_of(record), restore_backbone(record, weights, trained)
    decoder = build_decoder(protocol.decoder, backbone.embed_dim, len(record.classes), record.seed)
    if method is not None and (queries := method.queries()) is not None:
        decoder.link(queries, record.seed)
    load_decoder(decoder, head)
    segmenter = Segmenter(backbone, decoder)
    segmenter.eval()
    return segmenter


def restore_backbone(
    record: Record, weights: Path | None = None, trained: Path | None = None
) -> tuple[Backbone, Method | None]:
    """Build the backbone of a run with its final weights.

    Args:
        record: of the run.
        weights: as in :func:`restore`.
        trained: file with the run's delta or tuned tensors; None for the one beside the record.

    Returns:
        the backbone, and the method attached to it; None if the run only changed weights that are stored as a delta.

    Raises:
        UserError: as :func:`restore`.
    """
    require_weights(record)
    trained = trained or _verified(record, "tuned" if record.delta is None else "delta")
    backbone = build_backbone(record.backbone, **arguments(record, weights))
    found, facts = weight_hash(backbone), {name: fact for name, fact in backbone.facts().items() if name != "origin"}
    if found != record.weights_hash:
        raise UserError(
            f"{record.path}: the run used pre-trained weights {record.weights_hash[:SHORT]}"
            f"{_origin(record)}, got {found[:SHORT]}; give those of the run with --weights FILE"
        )
    if record.vfm and {**record.vfm, "origin": ""} != {**facts, "origin": ""}:
        raise UserError(
            f"{record.path}: vfm: {record.backbone} has changed since; use the program version that wrote the record"
        )
    if record.delta is not None:
        apply_delta(backbone, trained)
        return backbone, None
    return backbone, apply_tuned(backbone, trained)


def require_weights(record: Record) -> None:
    """Check that a record names weight files.

    Raises:
        UserError: it does not.
    """
    if record.decoder is None or (record.delta is None and record.tuned is None):
        why = "the run failed" if record.state == "failed" else "older records have none; run it again with --force"
        if record.checkpoint is not None:
            why = f"they are those of the released checkpoint {record.checkpoint.file}"
        raise UserError(f"{record.path}: no weight files: {why}")


def protocol_of(record: Record) -> Protocol:
    """Return the protocol of a run from its record.

    Raises:
        UserError: invalid protocol fields, or fields that do not match the fingerprint.
    """
    try:
        protocol = Protocol.of(record.protocol_fields, record.protocol, record.backbone)
    except ValidationError as error:
        raise UserError(f"{record.path}: protocol_fields: {explain(error, Protocol)}") from None
    if protocol.fingerprint() != record.fingerprint:
        raise UserError(f"{record.path}: protocol_fields: do not match the fingerprint; run it again with --force")
    return protocol


def arguments(record: Record, weights: Path | None = None) -> dict[str, Any]:
    """Return the arguments of ``build_backbone`` for a run, with the hub revision pinned."""
    given = record.protocol_fields.get("vfm")
    how: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
    if weights is not None:
        return {**how, "weights": weights}
    hub = HUB.fullmatch(_text(record))
    return {**how, "revision": hub["commit"]} if hub else how


def weights_file(record: Record) -> str | None:
    """Return the name of the ``--weights`` file of a run; None for bundled weights, those of the hub and packages'."""
    text = _text(record)
    found = HUB.fullmatch(text) or PACKAGE.fullmatch(text) or text.startswith(EMBEDDED)
    file = None if found else FILE.fullmatch(text)
    return file["file"] if file else None


def repository(record: Record) -> str | None:
    """Return the hub repository of the pre-trained weights of a run; None if they are not from the hub."""
    hub = HUB.fullmatch(_text(record))
    return hub["repository"] if hub else None


def from_package(record: Record) -> bool:
    """Return whether the pre-trained weights of a run are from a package of the Python package index."""
    return PACKAGE.fullmatch(_text(record)) is not None


def _text(record: Record) -> str:
    return str(record.vfm.get("origin", ""))


def _origin(record: Record) -> str:
    return f" ({_text(record)})" if record.vfm else ""


def _verified(record: Record, field: str) -> Path:
    """Return the path of a file of a record after checking its hash."""
    content(record, field)
    assert record.path is not None
    return record.path.with_name(Path(getattr(record, field).file).name)
