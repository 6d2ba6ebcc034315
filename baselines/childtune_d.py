"""ChildTuning-D: the weights that the task asks for, chosen once by squared gradients before training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmark.method import EstimationBatch, Method, Phase, Settings, SparseAdamW, UserError, averaged, setting, top_k
from benchmark.models.backbone import Backbone


class ChildTuneDSettings(Settings):
    """The paper's and its released script's where they say, for language models."""

    share: float = setting(0.3, "paper", "p, of the blocks' parameters (released script)", gt=0, le=1)
    estimation: float = setting(
        0.1, "ours", "of the iterations, for the choice; the paper reads all data once", gt=0, lt=1
    )
    decoder_first: float = setting(
        0.1,
        "ours",
        "of the iterations, where the protocol (as Rein's) has no decoder warm-up; as long as FisherTune's",
        ge=0,
        lt=1,
    )
    clip: float = setting(1.0, "paper", "largest norm of a tensor's gradient (released code)", gt=0)
    lr: float = setting(1e-4, "ours", "unpublished for DGSS; that of adapters in Rein", gt=0, le=1)
    weight_decay: float = setting(0.05, "ours", "unpublished for DGSS; that of Rein", ge=0, lt=1)


class ChildTuneD(Method):
    """The child network: the share p of the blocks' parameters with the largest Fisher scores.

    Score = mean over batches of the squared gradient of a *batch's* loss on true labels, each tensor's
    gradient first clipped to norm 1; all scores compete in one ranking, and the choice is fixed. The child network then
    trains in train mode, as released.

    Five differences from the released code. There, decoupled weight decay still shrinks the weights that
    are not chosen, and all that lies outside the encoder's layers is not masked at all and trains fully;
    here, as the paper has it, nothing but the child network is ever written. There, the choice costs a pass
    over the training set of its own, in train mode; here it is part of the iterations that every method has,
    in eval mode, and so free of chance. There, the gradients come through a head as it was initialised, one linear
    layer; here, through a decoder that has been trained for a while on the frozen backbone, by the protocol or, where
    that has no warm-up, first of all: an untrained Mask2Former (20.6 M weights) would rank the backbone's by chance,
    and in protocols with a warm-up both methods that estimate meet a trained decoder.
    """

    label = "ChildTune-D"
    source = "Xu et al., Raise a Child in Large Language Model (Child-Tuning), EMNLP 2021"
    Settings = ChildTuneDSettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze all but the blocks.

        Raises:
            UserError: no weight to choose.
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
                f"childtune-d: share {self.settings.share} of the blocks of backbone {backbone.name!r} is no weight "
                "at all; raise share"
            )

    def phases(self, iterations: int, warmed: int) -> tuple[Phase, ...]:
        """Return a phase that scores the weights and one that trains the chosen, after one of an untrained decoder.

        Raises:
            UserError: too few iterations for one of each.
        """
        share = 0.0 if warmed else self.settings.decoder_first
        alone = max(1, round(share * iterations)) if share else 0
        estimation = max(1, round(self.settings.estimation * iterations))
        if alone + estimation >= iterations:
            before = f"{alone} of the decoder alone, " if alone else ""
            raise UserError(
                f"childtune-d: {iterations} iterations cannot hold {before}{estimation} of estimation and tuning; give "
                "more, or lower estimation"
            )
        phases = (
            Phase("estimate", estimation, backbone=False, decoder=False, estimate=True),
            Phase("tune", iterations - alone - estimation),
        )
        return (Phase("decoder", alone, backbone=False), *phases) if alone else phases

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the blocks' parameters; of these, only chosen weights are ever updated."""
        params = list(self._parameters.values())
        return [{"params": params, "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]

    def optimizer(self, betas: tuple[float, float], eps: float) -> SparseAdamW:
        """Return an optimizer in which nothing is chosen yet."""
        self._optimizer = SparseAdamW(self.parameter_groups(), betas, eps, names=self._parameters)
        return self._optimizer

    def observe_batch(self, batch: EstimationBatch) -> None:
        """Add one batch's squared gradients to the scores.

        Raises:
            UserError: a gradient is NaN or infinite.
        """
        loss = batch.loss(batch.images, batch.labels)
        # A block behind the last tap has no part in the loss.
        gradients = torch.autograd.grad(loss, list(self._parameters.values()), materialize_grads=True)
        for name, gradient in zip(self._parameters, gradients, strict=True):
            squared = _clipped(averaged(gradient), self.settings.clip).square() / batch.steps
            if not bool(squared.isfinite().all()):
                raise UserError(
                    f"childtune-d: the gradient of {name} is not finite at estimation step {batch.step}; lower "
                    "the decoder's learning rate"
                )
            self._scores[name] = self._scores[name] + squared if name in self._scores else squared

    def select(self) -> None:
        """Choose.

        Raises:
            UserError: no gradient told one weight from another.
        """
        if not any(bool(score.any()) for score in self._scores.values()):
            raise UserError(
                "childtune-d: every gradient was 0 in every estimation step, so the loss does not depend on the "
                "backbone; warm the decoder up for longer (protocol: decoder.warmup)"
            )
        for name, mask in top_k(self._scores, self._count).items():
            self._optimizer.select(self._parameters[name], mask)
        self._scores = {}

    def trainable(self) -> int:
        """Return how many weights are chosen."""
        return self._count

    def stored_values(self) -> int:
        """Return how many scores there are: one per weight of the blocks."""
        return sum(parameter.numel() for parameter in self._parameters.values())

    def delta(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the chosen weights as they are now."""
        return self._optimizer.changes()

    def state_dict(self) -> dict[str, Any]:
        """Return the scores so far; once the choice is made, it is the optimizer's."""
        return {"scores": self._scores}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the scores back."""
        scores: dict[str, Tensor] = state["scores"]
        self._scores = {name: score.to(self._parameters[name].device) for name, score in scores.items()}


def _clipped(gradient: Tensor, largest: float) -> Tensor:
    """Return the gradient, shrunk to norm ``largest`` where it is longer."""
    return gradient * (largest / (gradient.norm() + 1e-6)).clamp(max=1)


METHOD = ChildTuneD
