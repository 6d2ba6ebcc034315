"""The fields of a protocol: the conditions that are the same for every method. Validated and immutable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from benchmark import labelsets
from benchmark.common.errors import UserError
from benchmark.labelsets import LabelSet

CHANNELS = {"linear": 0, "mask2former": 256}
"""Width of the decoders whose width is fixed (0: the decoder has no such parameter)."""
Side = Annotated[int, Field(gt=0, le=16_384)]
"""Pixels. Every bound is far above what is used, and far below what would fill the memory before it is refused."""
Count = Annotated[int, Field(gt=0, le=100_000_000)]
Batch = Annotated[int, Field(gt=0, le=65_536)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """Base class of a protocol's sections: immutable, and unknown fields are errors.

    Attributes:
        LATER: fields added after the first records were written. At their default value they are excluded from the
            serialised protocol, so that a protocol that does not use them keeps its fingerprint.
    """

    LATER: ClassVar[frozenset[str]] = frozenset()
    # Infinity cannot be stored in a record, since JSON has no infinity.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _as_recorded(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unused = {name for name in self.LATER if getattr(self, name) == type(self).model_fields[name].default}
        return {name: value for name, value in handler(self).items() if name not in unused}


class Alter(Part):
    """A change of every image of a split; see :mod:`benchmark.data.alter` for what each does.

    Attributes:
        name: what changes.
        strength: 1 to 3.
    """

    name: Literal["noise", "blur", "compression", "dark", "fog", "hue", "grey", "texture"]
    strength: Annotated[int, Field(ge=1, le=3)]


class Split(Part):
    """A set of images of one dataset.

    Attributes:
        dataset: name of a registered reader.
        split: the reader's name of the split (``train``, ``val``, ``val:fog``).
        limit: use only the first ``limit`` samples in the reader's order; None for all.
        frames: use only the samples with these ids, so that a part of a release is the same part wherever it was
            downloaded; None for all. In a YAML file, a list, or the path of a text file with an id per line.
        test_size: (width, height) that an image is scaled to fit into, aspect ratio kept, before inference. Predictions
            are always evaluated at the size of the label. None keeps the image's size.
        halve: whether to first scale image (bicubic) and label (nearest) to half their size, as papers do to evaluate
            on Mapillary Vistas. Predictions are then evaluated at half size.
        mapping: the label mapping, for datasets with several; None for the dataset's default.
        alter: an alteration of its images; None for none. Scenes are changed, not test sizes: it comes before scaling.
        scored_in: of a target, the label set in which it is scored; None for the protocol's.
    """

    LATER = frozenset({"frames", "halve", "mapping", "alter", "scored_in"})

    dataset: str
    split: str
    limit: PositiveInt | None = None
    frames: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    test_size: tuple[Side, Side] | None = None
    halve: bool = False
    mapping: str | None = None
    alter: Alter | None = None
    scored_in: str | None = None


ONE, SEVERAL = "(one)", "(several)"
Source = Annotated[
    Annotated[Split, Tag(ONE)] | Annotated[tuple[Split, ...], Field(min_length=2), Tag(SEVERAL)],
    Discriminator(lambda value: SEVERAL if isinstance(value, (list, tuple)) else ONE),
]
"""One split, or a list of two or more to train on jointly."""


class Augmentation(Part):
    """Training transforms, in this order: resize, crop, flip, photometric distortion, padding.

    Attributes:
        short_edge: smallest and largest length of the short edge after random resizing, in pixels.
        short_edges: instead of a range, the lengths to draw from uniformly.
        crop: side of the square crop, in pixels.
        cat_max_ratio: a crop is redrawn, up to ten times, while one class covers at least this fraction of its
            labelled pixels.
        flip: probability of a horizontal flip.
        photometric: whether to distort brightness, contrast, saturation and hue.
    """

    LATER = frozenset({"short_edges"})

    short_edge: tuple[Side, Side] | None = None
    short_edges: Annotated[tuple[Side, ...], Field(min_length=1)] | None = None
    crop: Side
    cat_max_ratio: Annotated[float, Field(gt=0, le=1)] = 0.75
    flip: Fraction = 0.5
    photometric: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> Augmentation:
        if (self.short_edge is None) == (self.short_edges is None):
            raise ValueError("give either short_edge or short_edges")
        if self.short_edge is not None and self.short_edge[0] > self.short_edge[1]:
            raise ValueError("short_edge must be [smallest, largest]")
        return self


class RareClassSampling(Part):
    """Training images are drawn by class, rare classes more often; see :class:`benchmark.data.rare.RareClasses`.

    Attributes:
        temperature: T in DAFormer's formula; 0.01 there.
        min_pixels: an image with fewer pixels of a class, at the size of its label, does not contain it.
    """

    temperature: Annotated[float, Field(gt=0)] = 0.01
    min_pixels: PositiveInt = 1


class FeaturePerturbation(Part):
    """Style augmentation in training: the features of every method are perturbed, as in FisherTune's Table 5.

    The fields are the settings of :class:`benchmark.method.PerturbationSettings`.
    """

    place: Literal["embedding"] | NonNegativeInt = "embedding"
    probability: Annotated[float, Field(gt=0, le=1)] = 0.5
    deviations: Literal["unbiased", "population"] = "unbiased"


class FoundationModel(Part):
    """How a vision foundation model is adapted to the protocol's patch size, and how its input is normalised.

    Attributes:
        resample: how patch embeddings and position embeddings are resampled: ``bicubic``, as in Rein, or ``pi``
            (pseudo-inverse), as in timm.
        normalisation: mean and standard deviation of the input: ``imagenet`` for all models, as in Rein, or the
            model's ``own``, as in timm.
    """

    resample: Literal["bicubic", "pi"] = "bicubic"
    normalisation: Literal["imagenet", "own"] = "imagenet"


class DecoderSpec(Part):
    """The decoder and its training; the same for every method.

    Attributes:
        name: ``segformer``: mmsegmentation's Feature2Pyramid and SegformerHead; ``linear``: a linear probe, see
            :class:`benchmark.models.decoders.LinearDecoder`; ``mask2former``: as published, see
            :mod:`benchmark.models.mask2former`.
        channels: width of the head. The default is the only valid value for mask2former (256) and linear (0, no width).
        lr, weight_decay: of AdamW.
        warmup: number of iterations at the start in which only the decoder is trained, for every method.
        class_weights: ``inverse-sqrt`` weights the cross-entropy by source frequency**-½; ``none`` does not.
            mask2former supports only ``none``.
    """

    name: Literal["segformer", "linear", "mask2former"] = "segformer"
    channels: Annotated[int, Field(ge=0, le=65_536)] = 64
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
    """How a model is evaluated.

    Attributes:
        mode: ``whole``: the whole image at once; ``slide``: a sliding window with side ``crop`` and step ``stride``, in
            pixels, with averaged logits.
        times: number of evaluations, evenly spaced, the last after the last iteration. Only the last counts. The others
            serve to report the best evaluation on the targets ("oracle" selection), as papers often do.
        merge_by: how predictions are merged for a target that is scored in another label set. ``argmax``: the
            predicted class of each pixel is replaced by the one that it is merged into; ``probability``: the
            probabilities of classes that are merged are added, and the largest sum is the prediction.
    """

    LATER = frozenset({"merge_by"})

    mode: Literal["whole", "slide"] = "whole"
    crop: Side | None = None
    stride: PositiveInt | None = None
    times: PositiveInt = 1
    merge_by: Literal["argmax", "probability"] = "argmax"

    @model_validator(mode="after")
    def _window(self) -> Evaluation:
        if self.mode == "slide" and (self.crop is None or self.stride is None or self.stride > self.crop):
            raise ValueError("mode slide needs crop and stride, with stride at most crop")
        return self


class Protocol(Part):
    """The fixed conditions of an experiment.

    Attributes:
        name: name of the file, followed by ``@variant`` if a variant is used.
        title: short description.
        classes: the label set to train on, and to score in unless a target says otherwise: a shipped one, one of
            another package, one of ``label_sets`` or, in a YAML file, the path of a file relative to it.
        trained: name of the protocol whose finished runs are evaluated here instead of training; the conditions of
            training must be its own. None for a protocol that trains.
        source: training images. Several datasets are trained on as one, every image equally often unless
            ``rare_classes`` is set.
        validation: held-out source images.
        targets: the unseen domains, by name.
        iterations: number of optimizer steps.
        batch: number of images per step, over all ranks.
        power: exponent of the polynomial learning-rate decay: the factor at iteration t is (1 - t/T)^power.
        lr_warmup: number of iterations of linear learning-rate warm-up before the decay.
        betas, eps: of AdamW, for both decoder and backbone.
        label_sets: the label sets in use that are not shipped. Those of files and other packages are added when the
            protocol is loaded, so that their content is part of the fingerprint.
        precision: ``float32``, or ``auto``: bfloat16 autocast if the accelerator supports it.
        rare_classes: draw training images by class; None visits every image once per epoch.
        perturbation: perturb the features of every method in training; None leaves it to methods named
            ``NAME+perturbed``.
        vfm: resampling and input normalisation of the backbone.
        backbone: the default backbone.
        settings: hyperparameters of methods that depend on the protocol's image sizes, by method. Like those in
            ``searched``, they are stored in each record and are not part of the fingerprint.
        searched: hyperparameters found by ``python -m benchmark tune``, by backbone and method: the same search for
            every method, on held-out source images. In a YAML file, the name of another protocol instead of a
            backbone's methods takes those found there.
    """

    LATER = frozenset({"trained", "vfm", "label_sets", "rare_classes", "perturbation"})

    name: str
    title: str
    trained: str | None = None
    classes: str = "cityscapes"
    label_sets: tuple[LabelSet, ...] = ()
    source: Source
    validation: Split
    targets: Annotated[dict[str, Split], Field(min_length=1)]
    iterations: Count
    batch: Batch
    power: Annotated[float, Field(ge=0)] = 0.9
    lr_warmup: Annotated[int, Field(ge=0)] = 0
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    precision: Literal["float32", "auto"] = "float32"
    augmentation: Augmentation
    rare_classes: RareClassSampling | None = None
    perturbation: FeaturePerturbation | None = None
    decoder: DecoderSpec
    evaluation: Evaluation = Evaluation()
    vfm: FoundationModel = FoundationModel()
    backbone: str
    settings: dict[str, dict[str, Any]] = {}
    searched: dict[str, dict[str, dict[str, Any]]] = {}

    @model_validator(mode="after")
    def _room(self) -> Protocol:
        if self.decoder.warmup >= self.iterations:
            raise ValueError("decoder.warmup must be less than iterations")
        if self.evaluation.times > self.iterations:
            raise ValueError("evaluation.times must not exceed iterations")
        datasets = [split.dataset for split in self.sources]
        if len(set(datasets)) < len(datasets):
            raise ValueError("source contains a dataset twice; give one split that covers both")
        for name in self.targets:
            if (
                name in ("validation", "source", *(f"source {dataset}" for dataset in datasets))
                or not name.isprintable()
            ):
                raise ValueError(f"targets: {name!r} is not allowed as a name; choose another")
        return self

    @model_validator(mode="after")
    def _labels(self) -> Protocol:
        names = [each.name for each in self.label_sets]
        for name in names:
            if name in labelsets.shipped() or names.count(name) > 1:
                raise ValueError(f"label_sets: {name!r} is the name of another label set; rename it")
        if any(split.scored_in for split in (*self.sources, self.validation)):
            raise ValueError("scored_in is for targets; source and validation are read in the label set of classes")
        wanted = {"classes": self.classes}
        wanted |= {f"targets.{name}.scored_in": each.scored_in for name, each in self.targets.items() if each.scored_in}
        for field, name in wanted.items():
            try:
                labels = self.label_set(name)
                for other in labels.merges:
                    labelsets.merge(self.label_set(other), labels)
                labelsets.merge(self.label_set(), labels)
            except (UserError, ValueError) as error:
                raise ValueError(f"{field}: {error}") from None
        return self

    def label_set(self, name: str | None = None) -> LabelSet:
        """Return a label set by name; None for the one that is trained on.

        Raises:
            UserError: unknown name.
        """
        name = self.classes if name is None else name
        return next((each for each in self.label_sets if each.name == name), None) or labelsets.find(name)

    @property
    def sources(self) -> tuple[Split, ...]:
        """The splits of the source, as a tuple even if there is only one."""
        return self.source if isinstance(self.source, tuple) else (self.source,)

    def splits(self) -> dict[str, Split]:
        """Return all splits by name: ``source`` (or ``source gta5`` and so on), ``validation`` and the targets."""
        several = len(self.sources) > 1
        sources = {f"source {split.dataset}" if several else "source": split for split in self.sources}
        return {**sources, "validation": self.validation, **self.targets}

    def fields(self) -> dict[str, Any]:
        """Return the fields that are fingerprinted, JSON-compatible: all but title, backbone, settings and searched."""
        # Earlier versions had a field "rendered", null for photographs: their records keep their fingerprint.
        return {"rendered": None, **self.model_dump(mode="json", exclude={"title", "backbone", "settings", "searched"})}

    @classmethod
    def of(cls, fields: Mapping[str, Any], title: str, backbone: str) -> Protocol:
        """Return the protocol with the given :meth:`fields`.

        Raises:
            pydantic.ValidationError: they are not those of a protocol.
        """
        stated = {name: value for name, value in fields.items() if name != "rendered"}
        return cls.model_validate({**stated, "title": title, "backbone": backbone})

    def fingerprint(self) -> str:
        """Return the SHA-256 of :meth:`fields` in canonical JSON. Results are comparable only if it is equal."""
        return hashlib.sha256(json.dumps(self.fields(), sort_keys=True).encode()).hexdigest()
