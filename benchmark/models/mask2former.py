"""Mask2Former on a plain ViT, with the settings and losses of Rein and its successors; parts from transformers.

Cheng et al., Masked-attention Mask Transformer for Universal Image Segmentation, CVPR 2022. Importing this takes
seconds, so it is done where the decoder is built.
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
"""Our names, transformers' names and the weights, in the sum as in the matching."""
Predictions = list[tuple[Tensor, Tensor]]
"""Class logits (B, Q, C + 1), the last "no object", and mask logits (B, Q, h', w'), by decoder layer."""


class Mask2Former(Decoder):
    """Queries that each say a class and a mask; a pixel's classes are what its queries say, summed.

    MSDeformAttn pixel decoder (3 levels, 4 points, 8 heads, FFN 1024), masked-attention decoder (8 heads, FFN
    2048), 256 dimensions throughout, no dropout; initial weights as mmdetection draws them. 20,565,204 parameters
    on a ViT-L with 19 classes, all of which train.

    A semantic label makes one target per class that an image shows, its binary mask; unlabelled pixels belong to
    no mask, which is what the field trains on. Losses are those of the queries as they enter and after each layer,
    summed, at points of which 3/4 are the least certain ones of 3 x ``points``.

    Of the masks at full resolution, (Q, H, W), one image's (in sliding inference: one window's) exist at a time,
    also when gradients are asked for: they are then computed twice.

    Args:
        embed_dim: width D of the backbone's tokens.
        num_classes: C.
        queries: Q.
        encoder_layers: of the pixel decoder.
        decoder_layers: of the transformer.
        points: per mask, of losses and matching.
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

    # -- what it says of pixels --------------------------------------------------------------------------

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return class logits (B, C, 4h, 4w): the logarithm of the scores' shares in each pixel."""
        classes, masks = self.predictions(features)[-1]
        return log_shares(semantic(classes, masks, (masks.shape[-2], masks.shape[-1])))

    def logits(self, features: list[Tensor], size: Size) -> Tensor:
        """Return likewise (B, C, *size)."""
        return log_shares(self.scores(features, size))

    def scores(self, features: list[Tensor], size: Size) -> Tensor:
        """Return the semantic map of the last layer (B, C, *size), see :func:`semantic`; not normalised."""
        return semantic(*self.predictions(features)[-1], size)

    def predictions(self, features: list[Tensor]) -> Predictions:
        """Return what the queries predict as they enter and after each layer, in float32 at least."""
        pixels = self.pixels(pyramid(features))
        found = self.transformer(pixels.multi_scale_features, pixels.mask_features)
        states, masks = found.intermediate_hidden_states, found.masks_queries_logits
        return [
            (_wide(self.classify(state.transpose(0, 1))), _wide(mask))
            for state, mask in zip(states, masks, strict=True)
        ]

    # -- how it learns -----------------------------------------------------------------------------------

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
            ValueError: class weights, for which these losses have no place.
        """
        if class_weights is not None:
            raise ValueError("mask2former weighs no class but 'no object'")
        return self.compare(self.predictions(features), labels, normaliser, micro_batch)

    def compare(
        self,
        predictions: Predictions,
        labels: Tensor,
        normaliser: Tensor | None = None,
        micro_batch: MicroBatch = WHOLE,
    ) -> dict[str, Tensor]:
        """Match predictions with the masks of (B, H, W) labels, 255 where nothing applies, layer by layer.

        An image's points depend on torch's seed, which the loop sets for each iteration, and on its place in the
        batch alone: neither numbers that are drawn in between (dropout, drop path) nor other images shift them.
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
        """Return one image's losses by layer, summed over its queries and masks, in transformers' names."""
        own = slice(image, image + 1)
        *earlier, last = (
            {"class_queries_logits": said[own], "masks_queries_logits": mask[own]} for said, mask in predictions
        )
        found = self.criterion(**last, mask_labels=[masks], class_labels=[classes], auxiliary_predictions=earlier)
        weight = self._class_mass(len(classes))  # the library's mean over queries is weighted
        return {key: value * (weight if key.startswith(LOSSES["cls"][0]) else 1) for key, value in found.items()}

    def _class_mass(self, shown: int) -> float:
        matched = min(shown, self.count)
        return matched + NO_OBJECT * (self.count - matched)

    def normaliser(self, labels: Tensor, class_weights: Tensor | None) -> Tensor:
        """Return the queries' total weight, matched 1 and others 0.1, and the number of masks, (2,)."""
        shown = [int((label.unique() != IGNORE).sum()) for label in labels]
        return torch.tensor([sum(map(self._class_mass, shown)), float(sum(shown))], device=labels.device)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Return norms, query embedding and the transformer's level embedding without decay, as Rein trains."""
        norms = [module for module in self.modules() if isinstance(module, nn.GroupNorm | nn.LayerNorm)]
        tables = [self.transformer.queries_embedder, self.transformer.level_embed]
        exempt = [parameter for module in (*norms, *tables) for parameter in module.parameters()]
        known = {id(parameter) for parameter in exempt}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return [{"params": rest, "weight_decay": weight_decay}, {"params": exempt, "weight_decay": 0.0}]

    def link(self, queries: Queries, seed: int) -> None:
        """Take ``queries`` for the query embedding and a linear layer of them for the queries' first features.

        Both embedding tables go; the layer, 256 x 256 and bias from the stream (seed, "decoder", "link"), is the
        decoder's.
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
    """Stands where an embedding table stood: what is read as its weight is computed each time."""

    def __init__(self, queries: Queries, layer: nn.Module) -> None:
        super().__init__()
        self.queries, self.layer = queries, layer

    @property
    def weight(self) -> Tensor:
        weight: Tensor = self.layer(self.queries())
        return weight


def pyramid(features: list[Tensor]) -> list[Tensor]:
    """Return four (B, D, h, w) maps at 4, 2, 1 and 1/2 times their size: strides 4 to 32 for 16-pixel patches.

    Nothing is learnt, as in Rein. The coarsest is the mean over 2 x 2, which bilinear halving is; where a side is
    odd the last row or column stands for itself.
    """
    first, second, third, fourth = features
    up = [F.interpolate(x, scale_factor=s, mode="bilinear", align_corners=False) for x, s in ((first, 4), (second, 2))]
    return [*up, third, F.avg_pool2d(fourth, 2, ceil_mode=True, count_include_pad=False)]


def semantic(classes: Tensor, masks: Tensor, size: Size) -> Tensor:
    """Return Σ_q p(c | q) σ(mask_q), (B, C, *size): masks are enlarged first, "no object" is left out at last.

    Args:
        classes: (B, Q, C + 1) class logits.
        masks: (B, Q, h', w') mask logits.
        size: (H, W).
    """
    one_by_one = zip(classes, masks, strict=True)
    # Recomputed in a backward pass, so that (Q, H, W) never exists for two images at a time.
    maps = [
        checkpoint(_semantic, said, mask, size, use_reentrant=False, preserve_rng_state=False)
        for said, mask in one_by_one
    ]
    return torch.stack(maps)


def _semantic(classes: Tensor, masks: Tensor, size: Size) -> Tensor:
    with torch.autocast(masks.device.type, enabled=False):
        large = F.interpolate(masks[None], size=size, mode="bilinear", align_corners=False)[0].sigmoid_()
        return torch.einsum("qc,qhw->chw", classes.softmax(-1)[:, :-1], large)


def log_shares(scores: Tensor) -> Tensor:
    """Return ln(s_c / Σ s), (B, C, H, W), of non-negative scores: logits whose softmax is each class's share."""
    return scores.clamp(min=torch.finfo(scores.dtype).tiny).log().log_softmax(1)


def targets(labels: Tensor, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    """Return, image by image, the masks (n, H, W) of ``dtype``, 0 or 1, and the classes (n,) that a label shows."""
    classes = [current[current != IGNORE] for current in (label.unique() for label in labels)]
    masks = [(label == shown[:, None, None]).to(dtype) for label, shown in zip(labels, classes, strict=True)]
    return masks, classes


@contextmanager
def _points(device: torch.device, image: int) -> Iterator[None]:
    """Within the context torch's generators are the image's own stream; afterwards they are as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive_seed(torch.initial_seed(), "points", image))
        yield


class _Criterion(Mask2FormerLoss):
    """The library's, with sums over masks where it has means: its own count differs between processes."""

    def get_num_masks(self, class_labels: Any, device: torch.device) -> Tensor:
        """Return 1: sums stay sums."""
        return torch.ones((), device=device)


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
