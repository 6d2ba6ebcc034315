"""ChildTuning-D: train the weights with the largest squared gradients, selected once before training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmark.method import (
    Budget,
    EstimateSettings,
    EstimationBatch,
    Method,
    Phase,
    SparseAdamW,
    UserError,
    averaged,
    phases_with_estimate,
    setting,
    top_k,
)
from benchmark.models.backbone import Backbone


class ChildTuneDSettings(EstimateSettings):
    """Values of the paper and its released script (for language models) where they state them."""

    share: float = setting(0.3, "paper", "p, fraction of the parameters of the blocks (released script)", gt=0, le=1)
    images: int = setting(256, "ours", "the paper uses one pass over the training set; same as FisherTune", ge=1)
    clip: float = setting(1.0, "paper", "maximum gradient norm per tensor (released code)", gt=0)
    lr: float = setting(1e-4, "ours", "unpublished for DGSS; same as Rein's adapter", gt=0, le=1)
    weight_decay: float = setting(0.05, "ours", "unpublished for DGSS; same as Rein", ge=0, lt=1)


class ChildTuneD(Method):
    """Trains the child network: the fraction p of the blocks' parameters with the largest Fisher scores.

    The score of a weight is the mean over batches of the squared gradient of the *batch* loss on true labels, with the
    gradient of each tensor clipped to norm 1. All weights are ranked together, and the selection is fixed. The child
    network trains in train mode, as in the released code.

    Differences from the released code:

    - There, decoupled weight decay also shrinks weights that are not selected. Here, as in the paper, only the child
      network is written.
    - There, parameters outside the encoder layers are not masked and train fully. Here, they are frozen.
    - There, selection takes an extra pass over the training set. Here, it takes 256 images of it.
    - There, gradients are computed in train mode. Here, in eval mode, so they are deterministic.
    - There, gradients come through an untrained linear head. Here, the decoder has been trained on the frozen backbone,
      by the warm-up of the protocol or else in a phase of its own: an untrained Mask2Former (20.6 M weights) would make
      the ranking of the backbone's weights random.
    """

    label = "ChildTune-D"
    source = "Xu et al., Raise a Child in Large Language Model (Child-Tuning), EMNLP 2021"
    Settings = ChildTuneDSettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze everything except the blocks.

        Raises:
            UserError: no weight would be selected.
        """
        self.begin(backbone, train_pretrained=True)
        inside = {id(parameter) for parameter in backbone.blocks.parameters()}
        self._parameters = {name: p for name, p in backbone.named_parameters() if id(p) in inside}
        for parameter in backbone.parameters():
            parameter.requires_grad_(id(parameter) in inside)
        self._scores: dict[str, Tensor] = {}
        self._count = round(self.settings.share * sum(p.numel() for p in self._parameters.values()))
        if self._count == 0:
            raise UserError(
                f"childtune-d: share {self.settings.share} of the blocks of backbone {backbone.name!r} selects no "
                "weight; raise share"
            )

    def phases(self, budget: Budget) -> tuple[Phase, ...]:
        """Return an estimation and a tuning phase; if the decoder is untrained, a decoder phase comes first.

        Raises:
            UserError: too few iterations for all phases.
        """
        return phases_with_estimate(self.settings, budget, method="childtune-d", passes=1)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group of the blocks' parameters, of which only selected weights are updated."""
        params = list(self._parameters.values())
        return [{"params": params, "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]

    def optimizer(self, betas: tuple[float, float], eps: float) -> SparseAdamW:
        """Return the optimizer, with no weight selected yet."""
        self._optimizer = SparseAdamW(self.parameter_groups(), betas, eps, names=self._parameters)
        return self._optimizer

    def observe_batch(self, batch: EstimationBatch) -> None:
        """Add the squared gradients of one batch to the scores.

        Raises:
            UserError: a gradient is NaN or infinite.
        """
        loss = batch.loss(batch.images, batch.labels)
        # Blocks after the last out index do not contribute to the loss.
        gradients = torch.autograd.grad(loss, list(self._parameters.values()), materialize_grads=True)
        for name, gradient in zip(self._parameters, gradients, strict=True):
            squared = _clipped(averaged(gradient), self.settings.clip).square() / batch.steps
            if not bool(squared.isfinite().all()):
                raise UserError(
                    f"childtune-d: the gradient of {name} is not finite at estimation step {batch.step}; lower the "
                    "learning rate of the decoder"
                )
            self._scores[name] = self._scores[name] + squared if name in self._scores else squared

    def select(self) -> None:
        """Select the weights with the largest scores.

        Raises:
            UserError: all gradients were 0.
        """
        if not any(bool(score.any()) for score in self._scores.values()):
            raise UserError(
                "childtune-d: all gradients were 0 in all estimation steps, so the loss does not depend on the "
                "backbone; use a longer decoder warm-up (protocol: decoder.warmup)"
            )
        for name, mask in top_k(self._scores, self._count).items():
            self._optimizer.select(self._parameters[name], mask)
        self._scores = {}

    def trainable(self) -> int:
        """Return the number of selected weights."""
        return self._count

    def stored_values(self) -> int:
        """Return the number of scores: one per weight of the blocks."""
        return sum(parameter.numel() for parameter in self._parameters.values())

    def delta(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the current values of the selected weights."""
        return self._optimizer.changes()

    def state_dict(self) -> dict[str, Any]:
        """Return the scores so far; after selection there are none, and the optimizer stores the selected weights."""
        return {"scores": self._scores}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the scores."""
        scores: dict[str, Tensor] = state["scores"]
        self._scores = {name: score.to(self._parameters[name].device) for name, score in scores.items()}


def _clipped(gradient: Tensor, largest: float) -> Tensor:
    """Return the gradient, clipped to norm ``largest``."""
    return gradient * (largest / (gradient.norm() + 1e-6)).clamp(max=1)


METHOD = ChildTuneD
