"""Protocols: the fixed conditions of an experiment, one validated, immutable :class:`Protocol` per YAML file."""

from benchmark.protocol.explain import explain
from benchmark.protocol.loader import FOLDER, SHORT, UNREADABLE, available, load, merged, shipped, variants, with_vfm
from benchmark.protocol.schema import (
    CHANNELS,
    Augmentation,
    DecoderSpec,
    Evaluation,
    FoundationModel,
    Part,
    Protocol,
    Split,
)

__all__ = [
    "CHANNELS",
    "FOLDER",
    "SHORT",
    "UNREADABLE",
    "Augmentation",
    "DecoderSpec",
    "Evaluation",
    "FoundationModel",
    "Part",
    "Protocol",
    "Split",
    "available",
    "explain",
    "load",
    "merged",
    "shipped",
    "variants",
    "with_vfm",
]
