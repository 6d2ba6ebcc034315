"""Check that weight files contain exactly the tensors that their record implies; needs no pre-trained weights."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from benchmark.artifacts.adapter import attached
from benchmark.artifacts.delta import DECODER, INDEX, VALUE, metadata
from benchmark.artifacts.restore import protocol_of
from benchmark.common.errors import UserError
from benchmark.models.backbone import Backbone, build_backbone
from benchmark.models.decoder import Decoder
from benchmark.models.decoders import build_decoder
from benchmark.models.weights import check
from benchmark.records import Record
from benchmark.sharing.manifest import AGAIN, FIELDS


def check_weights(record: Record, packed: Mapping[str, bytes], origin: str) -> None:
    """Check the weight files of a run against its backbone, method and decoder, and their metadata against the record.

    Args:
        record: of the run.
        packed: contents of ``decoder`` and of ``delta`` or ``tuned``.
        origin: name of the source, for messages.

    Raises:
        UserError: damaged; from another run; a tensor is missing, unexpected or of another shape or type.
    """
    tensors = {field: _parsed(data, f"{origin}: {FIELDS[field]}") for field, data in packed.items()}
    with torch.device("meta"):  # shapes only, no memory
        backbone = build_backbone(record.backbone, pretrained=False)
        decoder = build_decoder(protocol_of(record).decoder, backbone.embed_dim, len(record.classes), record.seed)
    for field in packed.keys() - {"decoder"}:
        place = f"{origin}: {FIELDS[field]}"
        _same_run(record, metadata(packed[field]), field, place)
        if field == "delta":
            _check_delta(tensors[field], backbone, place)
        else:
            _check_tuned(record, tensors[field], backbone, decoder, place)
    own = {DECODER + name: tensor for name, tensor in decoder.state_dict().items()}
    _check_tensors(tensors["decoder"], own, f"{origin}: {FIELDS['decoder']}")


def _parsed(packed: bytes, place: str) -> dict[str, Tensor]:
    try:
        return load(packed)
    except SafetensorError as error:
        raise UserError(f"{place}: truncated or not safetensors ({error}); {AGAIN}") from None


def _same_run(record: Record, facts: Mapping[str, str], field: str, place: str) -> None:
    """Check the metadata against the record; they determine the method that is attached to the backbone."""
    wanted = {
        "record": record.name,
        "method": record.method,
        "seed": str(record.seed),
        "backbone": record.backbone,
        "weights_hash": record.weights_hash,
    }
    if field == "tuned":
        wanted["settings"] = json.dumps(record.settings, sort_keys=True)
    for name in {**wanted, **facts}.keys() - {"tuned_hash"}:
        if facts.get(name) != wanted.get(name):
            raise UserError(f"{place}: {name} in its metadata differs from the record; {AGAIN}")


def _check_tuned(record: Record, tensors: dict[str, Tensor], backbone: Backbone, decoder: Decoder, place: str) -> None:
    method = attached(record.method, record.settings, record.seed, backbone, place)
    _check_tensors(tensors, method.trained(), place)
    if (queries := method.queries()) is not None:
        decoder.link(queries, record.seed)


def _check_delta(tensors: dict[str, Tensor], backbone: Backbone, place: str) -> None:
    own = dict(backbone.named_parameters())
    names = {name.removesuffix(INDEX).removesuffix(VALUE) for name in tensors}
    if set(tensors) != {name + part for name in names for part in (INDEX, VALUE)}:
        raise UserError(f"{place}: must contain pairs of {INDEX} and {VALUE} only; {AGAIN}")
    for name in sorted(names):
        if name not in own:
            raise UserError(f"{place}: {name!r} is not a parameter of backbone {backbone.name!r}; {AGAIN}")
        index, value = tensors[name + INDEX], tensors[name + VALUE]
        positions = index.long() if index.dtype in (torch.int32, torch.int64) and index.ndim == 1 else None
        if positions is None or value.shape != index.shape or value.dtype != own[name].dtype:
            raise UserError(f"{place}: {name!r} has wrong shapes or types for a delta; {AGAIN}")
        if len(positions) and (positions[0] < 0 or positions[-1] >= own[name].numel() or (positions.diff() <= 0).any()):
            raise UserError(f"{place}: {name!r} has positions out of order or not below {own[name].numel()}; {AGAIN}")


def _check_tensors(tensors: dict[str, Tensor], own: Mapping[str, Tensor], place: str) -> None:
    check(tensors, own, place)
    for name, tensor in tensors.items():
        if tensor.dtype != own[name].dtype:
            raise UserError(f"{place}: tensor {name!r} is {tensor.dtype}, expected {own[name].dtype}; {AGAIN}")
