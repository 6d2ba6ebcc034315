"""Build the model of a checkpoint; every tensor in the file is used, ignored for a stated reason, or refused."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.artifacts.adapter import attached
from benchmark.common.errors import UserError
from benchmark.method import Method
from benchmark.models import pickled
from benchmark.models.backbone import Backbone, build_backbone
from benchmark.models.decoder import Decoder
from benchmark.models.decoders import build_decoder
from benchmark.models.segmenter import Segmenter
from benchmark.models.weights import parsed, read_bytes, tensors_hash, weight_hash
from benchmark.protocol import Protocol
from benchmark.released.layouts import Layout, Tensors, find, ignored
from benchmark.released.names import DECODERS, Same, pair

VIT, PARALLEL = "backbone.vit.", "module."
NOT_EVALUATED = {
    "ema_state_dict": "mmengine stores the averaged weights in state_dict and the last iterate here",
    "optimizer": "state of the optimizer",
}
ELSEWHERE = "outside of the state dict"


@dataclass(frozen=True)
class Loaded:
    """The model of a checkpoint.

    Attributes:
        segmenter: in eval mode.
        method: attached to its backbone.
        settings: its hyperparameters as far as the shapes of tensors show them.
        sha256: of the file.
        whole: whether the backbone's own weights are from the file.
        weights_hash: hash of the backbone's own weights, before those that an adapter's file replaces.
        used: names of the tensors that the model contains.
        ignored: names of the others, each with the reason.
    """

    segmenter: Segmenter
    method: Method
    settings: Mapping[str, Any]
    sha256: str
    whole: bool
    weights_hash: str
    used: tuple[str, ...]
    ignored: Mapping[str, str]


def load(
    file: Path, taken_as: str, backbone: str, protocol: Protocol, weights: Path | None = None,
    revision: str | None = None,
) -> Loaded:  # fmt: skip
    """Read a checkpoint in mmsegmentation's format; nothing in it is executed.

    Args:
        file: as an official repository releases it: the whole model, or adapter and head alone.
        taken_as: its method, a key of :data:`benchmark.released.layouts.LAYOUTS`.
        backbone: name of the backbone.
        protocol: states decoder, classes, and how the backbone's weights are resampled.
        weights: file with the backbone's pre-trained weights, for a checkpoint without them.
        revision: commit of the backbone's hub repository, likewise.

    Raises:
        UserError: not a checkpoint, one with other objects than tensors and plain values, one of another architecture
            or other classes; or the pre-trained weights are unavailable.
    """
    layout, (tensors, rest, sha256) = find(taken_as), opened(file)
    _check_classes(rest, protocol, file)
    whole = layout.holds_backbone(tensors)
    if whole and (weights is not None or revision is not None):
        raise UserError(f"{file}: contains the backbone's weights; omit --weights and --revision")
    pretrained = build_backbone(
        backbone, pretrained=not whole, weights=weights, revision=revision, resample=protocol.vfm.resample,
        normalisation=protocol.vfm.normalisation, size=_size(tensors, layout, protocol),
    )  # fmt: skip
    digest = weight_hash(pretrained)
    decoder = build_decoder(protocol.decoder, pretrained.embed_dim, len(protocol.label_set().names), seed=0)
    segmenter, method = assemble(layout, tensors, pretrained, decoder, str(file))
    what = f"taken for {taken_as} on {backbone} with decoder {protocol.decoder.name}"
    unused = ignored(tensors)
    used = fill(segmenter, layout, protocol.decoder.name, tensors, whole, f"{file}: {what}")
    if whole:
        state = pretrained.state_dict()
        digest = tensors_hash({name: state[name] for name in state if name.startswith("vit.")})
        pretrained.origin = f"{file.name} (SHA-256 {sha256})"
    return Loaded(segmenter, method, layout.settings(tensors), sha256, whole, digest, used, {**unused, **_beside(rest)})


def opened(file: Path) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """Return a checkpoint's tensors, its entries outside of the state dict, and the SHA-256 of the file.

    Raises:
        UserError: see :func:`load`.
    """
    data, sha256 = read_bytes(file)
    tensors, rest = pickled.contents(data, file) if pickled.recognised(data) else (parsed(data, file), {})
    if all(name.startswith(PARALLEL) for name in tensors):
        tensors = {name.removeprefix(PARALLEL): tensor for name, tensor in tensors.items()}
    return tensors, rest, sha256


def assemble(
    layout: Layout, tensors: Tensors, backbone: Backbone, decoder: Decoder, origin: str
) -> tuple[Segmenter, Method]:
    """Return the model that the checkpoint's tensors belong to, in eval mode, and the method; nothing is filled in."""
    method = attached(layout.method, layout.settings(tensors), 0, backbone, origin)
    if (queries := method.queries()) is not None:
        own = getattr(getattr(decoder, "transformer", None), "queries_features", None)
        decoder.link(queries, seed=0)
        if own is not None and "decode_head.query_feat.weight" in tensors:  # Rein's head with replace_query_feat=False
            decoder.transformer.queries_features = own  # type: ignore[union-attr]
    segmenter = Segmenter(backbone, decoder)
    segmenter.eval()
    return segmenter, method


@torch.no_grad()
def fill(
    segmenter: Segmenter, layout: Layout, decoder: str, tensors: Tensors, whole: bool, origin: str
) -> tuple[str, ...]:
    """Copy a checkpoint's tensors into the model and return their names.

    Raises:
        UserError: a tensor is unknown, missing or of another shape; ``origin`` names the file and what it was taken
            for. The model is unchanged.
    """
    state = segmenter.state_dict()
    same = pair({**layout.names, **DECODERS[decoder]}, state)
    wanted = {name: each for each in same for name in each.theirs}
    unused = ignored(tensors)
    for name, tensor in tensors.items():
        if name in unused:
            continue
        if name not in wanted:
            raise UserError(f"{origin}: tensor {name!r} is not part of that model; check --as, --backbone, --protocol")
        if tuple(tensor.shape) != (expected := _shape(wanted[name], name, state)):
            found = tuple(tensor.shape)
            raise UserError(
                f"{origin}: tensor {name!r} is {found}, expected {expected}; check --as, --backbone, --protocol"
            )
    kept = {name for name, each in wanted.items() if not whole and all(ours.startswith(VIT) for ours in each.ours)}
    for name in wanted:
        if name not in tensors and name not in kept:
            raise UserError(f"{origin}: lacks tensor {name!r}; check --as, --backbone, --protocol")
    for each in same:
        if present := [name for name in each.theirs if name in tensors]:
            _copy(each, {name: tensors[name] for name in present}, state)
    return tuple(name for name in tensors if name in wanted)


def _copy(same: Same, tensors: Tensors, state: Tensors) -> None:
    """Copy the tensors into ours; parts that the checkpoint does not contain keep their values."""
    if len(same.theirs) > 1:
        for part, name in zip(state[same.ours[0]].chunk(len(same.theirs)), same.theirs, strict=True):
            if name in tensors:
                part.copy_(tensors[name])
        return
    rows = [state[name].shape[:1].numel() for name in same.ours]
    (tensor,) = tensors.values()
    for name, part in zip(same.ours, tensor.split(rows) if len(rows) > 1 else [tensor], strict=True):
        state[name].copy_(part)


def _shape(same: Same, name: str, state: Tensors) -> tuple[int, ...]:
    """Return the shape of the tensor ``name`` in a checkpoint."""
    shapes = [tuple(state[ours].shape) for ours in same.ours]
    if len(same.theirs) == 1 and len(shapes) == 1:
        return shapes[0]
    return (sum(shape[0] for shape in shapes) // len(same.theirs), *shapes[0][1:])


def _size(tensors: Tensors, layout: Layout, protocol: Protocol) -> int | None:
    """Return the side of the images that the checkpoint's position embeddings are for, in pixels.

    It is that of the embeddings in the file; otherwise that of the protocol's windows, for which the official scripts
    resample the pre-trained ones.
    """
    positions = tensors.get(f"{layout.backbone}pos_embed")
    if positions is None or positions.ndim != 3:
        return protocol.evaluation.crop if protocol.evaluation.mode == "slide" else None
    kernel = tensors.get(f"{layout.backbone}patch_embed.proj.weight")
    patch = kernel.shape[-1] if kernel is not None and kernel.ndim == 4 else 0
    return math.isqrt(positions.shape[1]) * patch or None


def _check_classes(rest: Mapping[str, Any], protocol: Protocol, file: Path) -> None:
    """Check the names of the classes, if the checkpoint states them, against those of the protocol."""
    meta = rest.get("meta")
    stated = meta.get("dataset_meta", {}) if isinstance(meta, Mapping) else {}
    classes = stated.get("classes") if isinstance(stated, Mapping) else None
    if not isinstance(classes, (list, tuple)):
        return
    names = protocol.label_set().names
    for place in range(max(len(names), len(classes))):
        found, expected = (str(each[place]) if place < len(each) else "none" for each in (classes, names))
        if re.sub(r"\W|_", "", found.lower()) != re.sub(r"\W|_", "", expected.lower()):
            raise UserError(f"{file}: its class {place} is {found!r}, that of protocol {protocol.name} is {expected!r}")


def _beside(rest: Mapping[str, Any]) -> dict[str, str]:
    """Return the entries outside of the state dict that contain tensors, each with the reason to ignore it."""
    return {
        f"{name} ({count} tensors)": NOT_EVALUATED.get(name, ELSEWHERE)
        for name, value in rest.items()
        if (count := _count(value))
    }


def _count(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(map(_count, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_count, value))
    return int(isinstance(value, Tensor))
