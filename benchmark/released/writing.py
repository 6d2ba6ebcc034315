"""``python -m benchmark export --format mmseg``: write a run as an mmsegmentation state dict."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.artifacts.restore import protocol_of, require_weights, restore
from benchmark.common.atomic import write_file, writing
from benchmark.common.errors import UserError
from benchmark.models.catalogue import find_backbone
from benchmark.records import Record, find
from benchmark.records.naming import base
from benchmark.released.layouts import LAYOUTS, Layout, Tensors
from benchmark.released.names import DECODERS, pair

SUFFIX = ".pth"
FAMILY = "dinov2"
"""Part of timm's names of the models whose tensors have the same names in the official repositories."""
OURS = {**LAYOUTS, "soma-as-released": LAYOUTS["soma"]}
ADDED = ("rein.", "minor_components.")
"""Modules that official repositories have as well."""
TYPES = {
    "rein": ("EncoderDecoder", "ReinsDinoVisionTransformer", "ReinMask2FormerHead"),
    "soma-as-released": ("PEFTBackboneEncoderDecoder", "DinoVisionTransformer", "Mask2FormerHead"),
}
"""Registered types of segmentor, backbone and head there, by the method of the layout."""
PLAIN_TYPES = ("EncoderDecoder", "DinoVisionTransformer", "Mask2FormerHead")


def export(which: str, records: Path, output: Path | None, weights: Path | None) -> Path:
    """Write the whole model of a run as a file that mmsegmentation loads; return its path.

    Args:
        which: as in :func:`benchmark.records.find`.
        records: folder of records.
        output: the ``.pth`` file to write; by default named after the run, in the current folder.
        weights: file with the pre-trained weights of the backbone, if the run used ``--weights``.

    Raises:
        UserError: no such run; the model's architecture does not exist there; ``output`` cannot be written.
    """
    record = find(which, records)
    require_weights(record)
    place = output or Path(record.name.replace("/", "-").replace("@", "-") + SUFFIX)
    if place.suffix != SUFFIX:
        raise UserError(f"--output {place}: must end in {SUFFIX} with --format mmseg")
    layout = layout_of(record)
    decoder = protocol_of(record).decoder.name
    tensors = state_dict(restore(record, weights).state_dict(), layout, decoder, record.label)
    buffer = io.BytesIO()
    torch.save({"meta": _meta(record, layout, decoder), "state_dict": tensors}, buffer)
    with writing(place, "give another --output"):
        write_file(place, buffer.getvalue())
    return place


def layout_of(record: Record) -> Layout:
    """Return the layout in which a run is written.

    Raises:
        UserError: its backbone is not a DINOv2.
    """
    if FAMILY not in find_backbone(record.backbone).timm:
        raise UserError(
            f"--format mmseg: the official repositories have no {record.backbone} under timm's names, only DINOv2; "
            "export it without --format"
        )
    return OURS.get(base(record.method), LAYOUTS["full"])


def state_dict(ours: Tensors, layout: Layout, decoder: str, label: str) -> dict[str, Tensor]:
    """Return the tensors of a model under the names of mmsegmentation.

    Args:
        ours: state dict of the segmenter.
        layout: of the method's checkpoints.
        decoder: name of the decoder.
        label: of the method, for messages.

    Raises:
        UserError: the method adds or wraps modules that do not exist there.
    """
    for name in ours:
        inside = name.removeprefix("backbone.")
        if (inside != name and not inside.startswith(("vit.", *ADDED))) or ".base_layer." in name:
            raise UserError(f"--format mmseg: {label} has modules that do not exist there ({name}); omit --format")
    ours = _without_start(ours)
    found: dict[str, Tensor] = {}
    for same in pair({**layout.names, **DECODERS[decoder]}, ours):
        parts = [ours[name] for name in same.ours]
        joined = parts[0] if len(parts) == 1 else torch.cat(parts)
        pieces = joined.chunk(len(same.theirs)) if len(same.theirs) > 1 else (joined,)
        found |= {name: piece.contiguous().clone() for name, piece in zip(same.theirs, pieces, strict=True)}
    return found


def _without_start(ours: Tensors) -> dict[str, Tensor]:
    """Subtract SoMA's initial pairs from the matrices, which the official code does when it builds the model."""
    left = {name: tensor for name, tensor in ours.items() if ".start_" not in name}
    for name, b in ours.items():
        if not name.endswith(".start_b"):
            continue
        layer, _, part = name.removeprefix("backbone.minor_components.").removesuffix(".start_b").rpartition(".")
        block, module, matrix = layer.split("_")
        weight = f"backbone.vit.blocks.{block}.{module}.{matrix}.weight"
        a, count = ours[name.removesuffix("b") + "a"], 3 if matrix == "qkv" else 1
        product = (b.double() @ a.double()).to(b.dtype)
        changed = list(left[weight].chunk(count))
        changed[int(part)] = changed[int(part)] - product
        left[weight] = torch.cat(changed)
    return left


def _meta(record: Record, layout: Layout, decoder: str) -> dict[str, Any]:
    """Return what mmsegmentation reads besides the weights: the classes; and where the file is from."""
    segmentor, backbone, head = TYPES.get(layout.method, PLAIN_TYPES)
    head = {"segformer": "SegformerHead", "linear": "FCNHead"}.get(decoder, head)
    types: Mapping[str, str] = {"type": segmentor, "backbone": backbone, "decode_head": head}
    run = {"record": record.name, "fingerprint": record.fingerprint, "weights_hash": record.weights_hash}
    return {"dataset_meta": {"classes": list(record.classes)}, "model": dict(types), "dgss_benchmark": run}
