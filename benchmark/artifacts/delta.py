"""Weights of methods that select single weights (a delta), and the decoder, as safetensors files.

For each changed tensor of the backbone, a delta contains ``NAME/index``, flat positions (ascending, int32 if they
fit), and ``NAME/value``, the new values. Its metadata contains the hash of the pre-trained weights (``weights_hash``)
and of the tuned backbone (``tuned_hash``). The decoder is a separate file with tensors ``decoder.NAME``, so that a
delta can be used with another head. Other methods use :mod:`benchmark.artifacts.adapter`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from benchmark.common.errors import UserError
from benchmark.method import Method
from benchmark.models.backbone import Backbone
from benchmark.models.segmenter import Segmenter
from benchmark.models.weights import load_into, load_safetensors, tensors_hash, weight_hash
from benchmark.records import Record

INDEX, VALUE, DECODER = "/index", "/value", "decoder."
RECORD = "record_file"
"""Key of the run's record in the metadata of a file that ``export --decoder`` wrote: all that ``predict`` needs."""
SHORT = 12


def apply_delta(backbone: Backbone, file: Path) -> None:
    """Turn the pre-trained ``backbone`` into the tuned one, bit for bit. On error, it is unchanged.

    Args:
        backbone: without a method attached.
        file: delta from a run or from ``export``.

    Raises:
        UserError: not a delta, a damaged one, or other pre-trained weights than those it was trained from.
    """
    tensors, facts = opened(file, backbone, "delta", ("weights_hash", "tuned_hash", "backbone"))
    tuned = dict(backbone.state_dict())
    for name in (key.removesuffix(INDEX) for key in tensors if key.endswith(INDEX)):
        try:
            tuned[name] = _changed(tuned[name], tensors[name + INDEX], tensors[name + VALUE])
        except (KeyError, IndexError, RuntimeError) as error:
            raise UserError(f"{file}: {name} does not fit the backbone ({error}); export the file again") from None
    if tensors_hash(tuned) != facts["tuned_hash"]:
        raise UserError(f"{file}: the tuned backbone does not match its hash (tuned_hash); export the file again")
    backbone.load_state_dict(tuned)


def opened(
    file: Path, backbone: Backbone, kind: str, needed: tuple[str, ...]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors and metadata of a file with weights tuned from those of ``backbone``.

    Raises:
        UserError: a damaged file, another kind of file, or other pre-trained weights than those it was trained from.
    """
    tensors = load_safetensors(file)
    with safe_open(file, "pt") as header:  # reads no tensor
        facts: dict[str, str] = header.metadata() or {}
    for name in needed:
        if name not in facts:
            raise UserError(
                f"{file}: not a {kind} (no {name} in its metadata); create one with: python -m benchmark export"
            )
    found = weight_hash(backbone)
    if found != facts["weights_hash"]:
        raise UserError(
            f"{file}: needs pre-trained weights {facts['weights_hash'][:SHORT]} of backbone "
            f"{facts['backbone']!r}, got {found[:SHORT]}; build that backbone with the weights of the run"
        )
    return tensors, facts


def load_decoder(decoder: nn.Module, file: Path) -> None:
    """Load trained weights into a decoder built for the same protocol and backbone.

    Args:
        decoder: from :func:`benchmark.models.decoders.build_decoder`.
        file: decoder file of a run, or a file exported with ``--decoder``.

    Raises:
        UserError: no decoder in the file, or one of another architecture.
    """
    tensors = load_safetensors(file)
    own = {name.removeprefix(DECODER): tensor for name, tensor in tensors.items() if name.startswith(DECODER)}
    if not own:
        raise UserError(f"{file}: contains no decoder; export it again with --decoder")
    load_into(decoder, own, str(file))


def files(method: Method, segmenter: Segmenter, record: Record) -> dict[str, bytes]:
    """Return the weight files of a finished run as bytes: ``delta`` or ``tuned``, and ``decoder``."""
    facts = {
        "record": record.name,
        "method": record.method,
        "seed": str(record.seed),
        "backbone": record.backbone,
        "weights_hash": record.weights_hash,
        "tuned_hash": weight_hash(segmenter.backbone),
    }
    decoder = {DECODER + name: tensor for name, tensor in segmenter.decoder.state_dict().items()}
    kept = {"decoder": packed(decoder, {"record": record.name})}
    changes = method.delta()
    if changes is None:
        settings = json.dumps(record.settings, sort_keys=True)
        return {"tuned": packed(method.trained(), {**facts, "settings": settings}), **kept}
    tensors: dict[str, Tensor] = {}
    for name, (index, value) in changes.items():
        tensors |= {name + INDEX: index, name + VALUE: value}
    return {"delta": packed(tensors, facts), **kept}


def moved(method: Method, pretrained: Mapping[str, Tensor]) -> int:
    """Return how many pre-trained values (parameters and buffers) a finished run changed; detaches the method.

    Args:
        method: after training.
        pretrained: the backbone's pre-trained weights, as :func:`benchmark.models.backbone.read_pretrained` has them.
    """
    method.detach()
    after = method.backbone.vit.state_dict()
    return sum(int((after[name].cpu() != value.to(after[name].dtype)).sum()) for name, value in pretrained.items())


def packed(tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> bytes:
    """Return a safetensors file; equal input gives equal bytes, which safetensors does not guarantee."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, dict(facts))
    header = json.dumps(_header(content), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    rest = content[8 + int.from_bytes(content[:8], "little") :]
    return len(header).to_bytes(8, "little") + header + rest


def metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file in memory; the library reads it only from files."""
    return {key: str(value) for key, value in _header(content).get("__metadata__", {}).items()}


def _header(content: bytes) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header


def _changed(tensor: Tensor, index: Tensor, value: Tensor) -> Tensor:
    if value.dtype != tensor.dtype or index.shape != value.shape:
        raise RuntimeError(f"{tuple(index.shape)} positions, {tuple(value.shape)} values of {value.dtype}")
    changed = tensor.detach().clone()
    changed.view(-1)[index.to(tensor.device).long()] = value.to(tensor.device)
    return changed
