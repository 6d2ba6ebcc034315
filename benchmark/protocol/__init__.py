"""Protocols: the fixed conditions of an experiment, one validated, immutable :class:`Protocol` per YAML file."""

from benchmark.protocol.explain import explain
from benchmark.protocol.loader import (
    FOLDER,
    SHORT,
    UNREADABLE,
    argument,
    available,
    load,
    merged,
    shipped,
    variants,
    with_vfm,
)
from benchmark.protocol.schema import (
    CHANNELS,
    Augmentation,
    DecoderSpec,
    Evaluation,
    FeaturePerturbation,
    FoundationModel,
    Part,
    Protocol,
    RareClassSampling,
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
    "FeaturePerturbation",
    "FoundationModel",
    "Part",
    "Protocol",
    "RareClassSampling",
    "Split",
    "argument",
    "available",
    "explain",
    "load",
    "merged",
    "shipped",
    "variants",
    "with_vfm",
]
