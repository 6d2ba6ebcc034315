"""Mask2Former on a plain ViT with the hyperparameters and losses of Rein and its successors, based on transformers.

Cheng et al., Masked-attention Mask Transformer for Universal Image Segmentation, CVPR 2022. Importing this module
takes seconds, so it is imported when the decoder is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerLoss,
    Mask2FormerPixelDecoder,
    Mask2FormerTransformerModule,
)

from benchmark.common.microbatch import WHOLE, MicroBatch
from benchmark.common.rng import derive_seed
from benchmark.models.decoder import (
    IGNORE,
    MASK2FORMER_QUERIES,
    MIN_NORMALISER,
    Decoder,
    Queries,
    Size,
    check_queries,
    seeded,
)
from benchmark.models.mask2former_initial import draw_initial

WIDTH = MASK2FORMER_QUERIES[1]
HEADS = 8
NO_OBJECT = 0.1
"""Weight of "no object" among the classes."""
LOSSES = {"cls": ("loss_cross_entropy", 2.0), "mask": ("loss_mask", 5.0), "dice": ("loss_dice", 5.0)}
"""Our name of each loss, transformers' name, and its weight in both the total loss and the matching."""
Predictions = list[tuple[Tensor, Tensor]]
"""Class logits (B, Q, C + 1), "no object" last, and mask logits (B, Q, h', w') of each decoder layer."""


class Mask2Former(Decoder):
    """Each query predicts a class and a mask; the class scores of a pixel are summed over its queries.

    MSDeformAttn pixel decoder (3 levels, 4 points, 8 heads, FFN 1024), masked-attention decoder (8 heads, FFN
    2048), 256 dimensions throughout, no dropout, mmdetection's weight initialisation. 20,565,204 parameters on a
    ViT-L with 19 classes, all trainable.

    A semantic label yields one target per class in the image: the binary mask of the class. Unlabelled pixels belong
    to no mask, as in the literature. Losses are summed over the predictions before the first layer and after each
    layer, at sampled points: 3/4 of them are the most uncertain ones out of 3 x ``points``.

    Masks at full resolution, (Q, H, W), exist for only one image (in sliding inference: one window) at a time. With
    gradients they are therefore computed twice.

    Args:
        embed_dim: token width D of the backbone.
        num_classes: number of classes C.
        queries: number of queries Q.
        encoder_layers: number of layers of the pixel decoder.
        decoder_layers: number of layers of the transformer decoder.
        points: sampled points per mask, in losses and matching.
    """

    def __init__(
        self,
        embed_dim: int,
        num_classes: int,
        queries: int = MASK2FORMER_QUERIES[0],
        encoder_layers: int = 6,
        decoder_layers: int = 9,
        points: int = 12_544,
    ) -> None:
        super().__init__()
        weights = {name: weight for name, weight in LOSSES.values()}
        config = Mask2FormerConfig(
            num_labels=num_classes,
            num_queries=queries,
            feature_size=WIDTH,
            mask_feature_size=WIDTH,
            hidden_dim=WIDTH,
            num_attention_heads=HEADS,
            encoder_layers=encoder_layers,
            encoder_feedforward_dim=1024,
            decoder_layers=decoder_layers + 1,  # transformers counts the prediction before the first layer
            dim_feedforward=2048,
            dropout=0.0,
            class_weight=weights["loss_cross_entropy"],
            mask_weight=weights["loss_mask"],
            dice_weight=weights["loss_dice"],
            no_object_weight=NO_OBJECT,
            train_num_points=points,
            oversample_ratio=3.0,
            importance_sample_ratio=0.75,
        )
        self.pixels = Mask2FormerPixelDecoder(config, [embed_dim] * 4)
        self.transformer = Mask2FormerTransformerModule(WIDTH, config)
        self.classify = nn.Linear(WIDTH, num_classes + 1)
        self.criterion = _Criterion(config, weights)
        self.count = queries
        draw_initial(self.pixels, self.transformer)

    # -- inference ---------------------------------------------------------------------------------------

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return class logits (B, C, 4h, 4w): the logarithm of each pixel's normalised class scores."""
        classes, masks = self.predictions(features)[-1]
        return log_normalised(semantic(classes, masks, (masks.shape[-2], masks.shape[-1])))

    def logits(self, features: list[Tensor], size: Size) -> Tensor:
        """Return class logits (B, C, *size)."""
        return log_normalised(self.scores(features, size))

    def scores(self, features: list[Tensor], size: Size) -> Tensor:
        """Return the unnormalised semantic map of the last layer (B, C, *size), see :func:`semantic`."""
        return semantic(*self.predictions(features)[-1], size)

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """Return the logarithm of the normalised scores."""
        return log_normalised(scores)

    def predictions(self, features: list[Tensor]) -> Predictions:
        """Return the predictions before the first layer and after each layer, in float32 or wider."""
        pixels = self.pixels(pyramid(features))
        found = self.transformer(pixels.multi_scale_features, pixels.mask_features)
        states, masks = found.intermediate_hidden_states, found.masks_queries_logits
        return [
            (_wide(self.classify(state.transpose(0, 1))), _wide(mask))
            for state, mask in zip(states, masks, strict=True)
        ]

    # -- training ----------------------------------------------------------------------------------------

    def losses(
        self,
        features: list[Tensor],
        labels: Tensor,
        class_weights: Tensor | None,
        normaliser: Tensor | None = None,
        micro_batch: MicroBatch = WHOLE,
    ) -> dict[str, Tensor]:
        """Return ``cls``, ``mask`` and ``dice``, weighted 2, 5 and 5; see :meth:`compare`.

        Raises:
            ValueError: class weights are given; these losses do not support them.
        """
        if class_weights is not None:
            raise ValueError("mask2former does not support class weights")
        return self.compare(self.predictions(features), labels, normaliser, micro_batch)

    def compare(
        self,
        predictions: Predictions,
        labels: Tensor,
        normaliser: Tensor | None = None,
        micro_batch: MicroBatch = WHOLE,
    ) -> dict[str, Tensor]:
        """Match predictions with the masks of (B, H, W) labels, 255 = ignore, layer by layer, and return the losses.

        The sampled points of an image depend only on torch's seed, which the training loop sets in each iteration, and
        on the image's position in the batch. They do not depend on other draws (dropout, drop path) or other images.
        """
        masks, classes = targets(labels, predictions[-1][1].dtype)
        normaliser = self.normaliser(labels, None) if normaliser is None else normaliser
        first = micro_batch.index * len(labels)
        sums: dict[str, list[Tensor]] = {name: [] for name in LOSSES}
        with torch.autocast(labels.device.type, enabled=False):
            for image in range(len(labels)):
                with _points(labels.device, first + image):
                    found = self._sums(predictions, image, masks[image], classes[image])
                for ours, (theirs, _) in LOSSES.items():
                    sums[ours] += [value for key, value in found.items() if key.startswith(theirs)]
        whole = dict(zip(LOSSES, (normaliser[0], normaliser[1], normaliser[1]), strict=True))
        return {
            name: weight * torch.stack(sums[name]).sum() / whole[name].clamp(min=MIN_NORMALISER)
            for name, (_, weight) in LOSSES.items()
        }

    def _sums(self, predictions: Predictions, image: int, masks: Tensor, classes: Tensor) -> dict[str, Tensor]:
        """Return one image's losses by layer, summed over its queries and masks, under transformers' names."""
        own = slice(image, image + 1)
        *earlier, last = (
            {"class_queries_logits": logits[own], "masks_queries_logits": mask[own]} for logits, mask in predictions
        )
        found = self.criterion(**last, mask_labels=[masks], class_labels=[classes], auxiliary_predictions=earlier)
        weight = self._class_normaliser(len(classes))  # undoes the library's weighted mean over queries
        return {key: value * (weight if key.startswith(LOSSES["cls"][0]) else 1) for key, value in found.items()}

    def _class_normaliser(self, present: int) -> float:
        """Return the total weight of one image's queries, given the number of classes that it shows."""
        matched = min(present, self.count)
        return matched + NO_OBJECT * (self.count - matched)

    def normaliser(self, labels: Tensor, class_weights: Tensor | None) -> Tensor:
        """Return the loss normaliser (2,): total weight of the queries (matched 1, others 0.1), number of masks."""
        present = [int((label.unique() != IGNORE).sum()) for label in labels]
        return torch.tensor([sum(map(self._class_normaliser, present)), float(sum(present))], device=labels.device)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Return parameter groups: no weight decay for norms, query and transformer level embeddings, as in Rein."""
        norms = [module for module in self.modules() if isinstance(module, nn.GroupNorm | nn.LayerNorm)]
        tables = [self.transformer.queries_embedder, self.transformer.level_embed]
        exempt = [parameter for module in (*norms, *tables) for parameter in module.parameters()]
        known = {id(parameter) for parameter in exempt}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return [{"params": rest, "weight_decay": weight_decay}, {"params": exempt, "weight_decay": 0.0}]

    def link(self, queries: Queries, seed: int) -> None:
        """Use ``queries`` as the query embedding and a linear layer of them as the initial query features.

        Both embedding tables are removed. The layer (256 x 256 and bias, drawn from the RNG stream (seed, "decoder",
        "link")) belongs to the decoder.
        """
        own = self.transformer.queries_embedder.weight
        with torch.no_grad():
            offered = queries()
        check_queries((offered.shape[0], offered.shape[1]), (own.shape[0], own.shape[1]))
        with seeded(seed, "decoder", "link"):
            layer = nn.Linear(WIDTH, WIDTH).to(own.device)
        self.transformer.queries_embedder = _Computed(queries, nn.Identity())
        self.transformer.queries_features = _Computed(queries, layer)


class _Computed(nn.Module):
    """Replaces an embedding table: ``weight`` is computed at every access."""

    def __init__(self, queries: Queries, layer: nn.Module) -> None:
        super().__init__()
        self.queries, self.layer = queries, layer

    @property
    def weight(self) -> Tensor:
        weight: Tensor = self.layer(self.queries())
        return weight


def pyramid(features: list[Tensor]) -> list[Tensor]:
    """Resize four (B, D, h, w) maps by 4, 2, 1 and 1/2: strides 4 to 32 for 16-pixel patches.

    There are no parameters, as in Rein. The coarsest level is 2 x 2 average pooling, which equals bilinear downsampling
    by 2; for an odd side the last windows cover a single row or column.
    """
    first, second, third, fourth = features
    up = [F.interpolate(x, scale_factor=s, mode="bilinear", align_corners=False) for x, s in ((first, 4), (second, 2))]
    return [*up, third, F.avg_pool2d(fourth, 2, ceil_mode=True, count_include_pad=False)]


def semantic(classes: Tensor, masks: Tensor, size: Size) -> Tensor:
    """Return Σ_q p(c | q) σ(mask_q), (B, C, *size): masks are upsampled first, "no object" is dropped after softmax.

    Args:
        classes: (B, Q, C + 1) class logits.
        masks: (B, Q, h', w') mask logits.
        size: (H, W).
    """
    one_by_one = zip(classes, masks, strict=True)
    # Recomputed in the backward pass, so that (Q, H, W) never exists for two images at a time.
    maps = [
        checkpoint(_semantic, logits, mask, size, use_reentrant=False, preserve_rng_state=False)
        for logits, mask in one_by_one
    ]
    return torch.stack(maps)


def _semantic(classes: Tensor, masks: Tensor, size: Size) -> Tensor:
    with torch.autocast(masks.device.type, enabled=False):
        large = F.interpolate(masks[None], size=size, mode="bilinear", align_corners=False)[0].sigmoid_()
        return torch.einsum("qc,qhw->chw", classes.softmax(-1)[:, :-1], large)


def log_normalised(scores: Tensor) -> Tensor:
    """Return ln(s_c / Σ s), (B, C, H, W), of non-negative scores: logits whose softmax is the normalised scores."""
    return scores.clamp(min=torch.finfo(scores.dtype).tiny).log().log_softmax(1)


def targets(labels: Tensor, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    """Return for each image the binary masks (n, H, W) of ``dtype`` and the classes (n,) in its label."""
    classes = [values[values != IGNORE] for values in (label.unique() for label in labels)]
    masks = [(label == present[:, None, None]).to(dtype) for label, present in zip(labels, classes, strict=True)]
    return masks, classes


@contextmanager
def _points(device: torch.device, image: int) -> Iterator[None]:
    """Seed torch's generators with the image's own RNG stream; restore their state on exit."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive_seed(torch.initial_seed(), "points", image))
        yield


class _Criterion(Mask2FormerLoss):
    """The library's losses, summed over masks instead of averaged, since its own count differs between ranks."""

    def get_num_masks(self, class_labels: Any, device: torch.device) -> Tensor:
        """Return 1, so that losses are not divided."""
        return torch.ones((), device=device)


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
