"""The fields of a protocol: what every method shares and cannot change. Frozen and validated."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

CHANNELS = {"linear": 0, "mask2former": 256}
"""Width of the decoders that have only one, or none."""
Share = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """Base of a protocol's sections: frozen, and without unknown keys.

    Attributes:
        LATER: fields that came after the first records. At their default they are left out of what is
            fingerprinted, so that a protocol which does not use them keeps its fingerprint.
    """

    LATER: ClassVar[frozenset[str]] = frozenset()
    # No infinity: a record, which is JSON, could not hold it.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _as_recorded(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unused = {name for name in self.LATER if getattr(self, name) == type(self).model_fields[name].default}
        return {name: value for name, value in handler(self).items() if name not in unused}


class Split(Part):
    """Some images of one dataset.

    Attributes:
        dataset: a registered reader's name.
        split: as the reader names it (``train``, ``val``, ``val:fog``).
        limit: the first so many samples in the reader's order; None for all.
        test_size: (width, height) into which an image is fitted, aspect kept, before inference; scoring is
            at the label's own size whatever it is. None for the image's own size.
        halve: whether image (bicubic) and label (nearest) are first brought to half their size, as the field
            scores Mapillary Vistas; the label's own size is then the half one.
        mapping: which of the dataset's mappings to train ids, where it has several; None for its default.
    """

    LATER = frozenset({"halve", "mapping"})

    dataset: str
    split: str
    limit: PositiveInt | None = None
    test_size: tuple[PositiveInt, PositiveInt] | None = None
    halve: bool = False
    mapping: str | None = None


ONE, SEVERAL = "(one)", "(several)"
Source = Annotated[
    Annotated[Split, Tag(ONE)] | Annotated[tuple[Split, ...], Field(min_length=2), Tag(SEVERAL)],
    Discriminator(lambda value: SEVERAL if isinstance(value, (list, tuple)) else ONE),
]
"""One split, or two and more that are trained on together."""


class Augmentation(Part):
    """Training transforms, in this order: resize, crop, flip, photometric distortion, padding.

    Attributes:
        short_edge: smallest and largest length, in pixels, of the randomly resized short edge.
        short_edges: instead of these, the very lengths that it may have, all equally likely.
        crop: side of the square crop, in pixels.
        cat_max_ratio: a crop is redrawn, up to ten times, while one class fills more than this share of it.
        flip: probability of a horizontal flip.
        photometric: whether brightness, contrast, saturation and hue are distorted.
    """

    LATER = frozenset({"short_edges"})

    short_edge: tuple[PositiveInt, PositiveInt] | None = None
    short_edges: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] | None = None
    crop: PositiveInt
    cat_max_ratio: Annotated[float, Field(gt=0, le=1)] = 0.75
    flip: Share = 0.5
    photometric: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> Augmentation:
        if (self.short_edge is None) == (self.short_edges is None):
            raise ValueError("give short_edge or short_edges, one of them")
        if self.short_edge is not None and self.short_edge[0] > self.short_edge[1]:
            raise ValueError("short_edge must be [smallest, largest]")
        return self


class FoundationModel(Part):
    """How every foundation model is brought to the protocol's patch size and what it is fed.

    Attributes:
        resample: of patch kernels and position tables: plain ``bicubic`` as Rein does, or ``pi``, timm's way.
        normalisation: to ``imagenet``'s mean and standard deviation for all, as Rein does, or to the VFM's ``own``,
            which is timm's way.
    """

    resample: Literal["bicubic", "pi"] = "bicubic"
    normalisation: Literal["imagenet", "own"] = "imagenet"


class DecoderSpec(Part):
    """The decoder and how it is trained; the same for every method.

    Attributes:
        name: ``segformer``: mmsegmentation's Feature2Pyramid and SegformerHead; ``linear``: a linear probe, see
            :class:`benchmark.models.decoders.LinearDecoder`; ``mask2former``: as published, see
            :mod:`benchmark.models.mask2former`.
        channels: width of the head; mask2former's is 256 and linear has none (0): neither need be given.
        lr, weight_decay: of AdamW.
        warmup: first iterations, in which only the decoder trains, whatever the method.
        class_weights: ``inverse-sqrt`` weighs cross-entropy by source frequency**-½, ``none`` does not;
            mask2former's losses have no place for it.
    """

    name: Literal["segformer", "linear", "mask2former"] = "segformer"
    channels: Annotated[int, Field(ge=0)] = 64
    lr: Annotated[float, Field(gt=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.05
    warmup: Annotated[int, Field(ge=0)] = 0
    class_weights: Literal["inverse-sqrt", "none"] = "none"

    @model_validator(mode="before")
    @classmethod
    def _width(cls, values: Any) -> Any:
        if isinstance(values, dict) and str(values.get("name")) in CHANNELS:
            return {"channels": CHANNELS[values["name"]]} | values
        return values

    @model_validator(mode="after")
    def _as_published(self) -> DecoderSpec:
        if self.channels != CHANNELS.get(self.name, self.channels or 64):
            wanted = CHANNELS.get(self.name, "1 or more")
            raise ValueError(f"channels of {self.name} must be {wanted}, not {self.channels}")
        if self.name == "mask2former" and self.class_weights != "none":
            raise ValueError(f"class_weights of mask2former must be none, not {self.class_weights}")
        return self


class Evaluation(Part):
    """How a model is scored.

    Attributes:
        mode: ``whole`` image, or ``slide`` a window of ``crop`` by ``stride`` pixels and average its logits.
        times: scorings, evenly spaced, the last after the last iteration. The last is the score;
            the others only tell the best-on-target ("oracle") figure that papers often report.
    """

    mode: Literal["whole", "slide"] = "whole"
    crop: PositiveInt | None = None
    stride: PositiveInt | None = None
    times: PositiveInt = 1

    @model_validator(mode="after")
    def _window(self) -> Evaluation:
        if self.mode == "slide" and (self.crop is None or self.stride is None or self.stride > self.crop):
            raise ValueError("mode slide needs crop and stride, stride at most crop")
        return self


class Protocol(Part):
    """One experiment's fixed conditions.

    Attributes:
        name: the file's name, with ``@variant`` where one applies.
        title: one line for people.
        rendered: the embedded data to render where no data root is given; None needs ``--data-root``.
        classes: the label set that is trained and scored.
        source: training images; a list of several datasets is trained on as one, every image equally often.
        validation, targets: held-out source images, unseen domains.
        iterations, batch: optimizer steps and images in each, summed over all processes.
        power: of the polynomial decay to zero; factor (1 - t/T)^power for iteration t.
        lr_warmup: iterations of linear warm-up before it.
        betas, eps: AdamW's, for decoder and backbone alike.
        precision: ``float32``, or ``auto``: bfloat16 autocast where the accelerator has it.
        vfm: resampling and normalisation of whatever backbone is used.
        backbone: used unless another is asked for.
        settings: per method, values that this protocol's sizes call for. Like those of ``searched``, they are
            settings of methods, stored with each record, and no part of the protocol.
        searched: per method, values found for the protocol's own backbone by ``python -m benchmark tune``: an
            equal search for every method, judged on held-out source images. Another backbone ignores them.
    """

    LATER = frozenset({"vfm"})

    name: str
    title: str
    rendered: Literal["streets"] | None = None
    classes: Literal["cityscapes", "camvid"] = "cityscapes"
    source: Source
    validation: Split
    targets: Annotated[dict[str, Split], Field(min_length=1)]
    iterations: PositiveInt
    batch: PositiveInt
    power: Annotated[float, Field(ge=0)] = 0.9
    lr_warmup: Annotated[int, Field(ge=0)] = 0
    betas: tuple[Share, Share] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    precision: Literal["float32", "auto"] = "float32"
    augmentation: Augmentation
    decoder: DecoderSpec
    evaluation: Evaluation = Evaluation()
    vfm: FoundationModel = FoundationModel()
    backbone: str
    settings: dict[str, dict[str, Any]] = {}
    searched: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _room(self) -> Protocol:
        if self.decoder.warmup >= self.iterations:
            raise ValueError("decoder.warmup must leave iterations for the method")
        if self.evaluation.times > self.iterations:
            raise ValueError("evaluation.times cannot exceed iterations")
        datasets = [split.dataset for split in self.sources]
        if len(set(datasets)) < len(datasets):
            raise ValueError("source names a dataset twice; choose a split that holds both parts")
        for name in self.targets:
            if (
                name in ("validation", "source", *(f"source {dataset}" for dataset in datasets))
                or not name.isprintable()
            ):
                raise ValueError(f"targets: no target may be called {name!r}; choose another name")
        return self

    @property
    def sources(self) -> tuple[Split, ...]:
        """The source's splits: one, unless there are several."""
        return self.source if isinstance(self.source, tuple) else (self.source,)

    def splits(self) -> dict[str, Split]:
        """Return every split by the name of its part: ``source`` (one of several: ``source gta5``), and so on."""
        several = len(self.sources) > 1
        sources = {f"source {split.dataset}" if several else "source": split for split in self.sources}
        return {**sources, "validation": self.validation, **self.targets}

    def fields(self) -> dict[str, Any]:
        """Return what defines the protocol, JSON-ready: all but title, default backbone and methods' settings."""
        return self.model_dump(mode="json", exclude={"title", "backbone", "settings", "searched"})

    def fingerprint(self) -> str:
        """Return the SHA-256 of :meth:`fields` in canonical JSON: equal if and only if results compare."""
        return hashlib.sha256(json.dumps(self.fields(), sort_keys=True).encode()).hexdigest()
