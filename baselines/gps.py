"""GPS: train the incoming weights with the largest gradients of every neuron, selected once before training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

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
)
from benchmark.models.backbone import Backbone


class GPSSettings(EstimateSettings):
    """Values of the paper and its released scripts (for classification) where they state them."""

    per_neuron: int = setting(
        1, "paper", "K, incoming weights per neuron; the paper also has 2 or more for some tasks", ge=1
    )
    images: int = setting(
        256,
        "ours",
        "the paper takes one pass over the training set (1,000 images in VTAB-1k); same as FisherTune",
        ge=1,
    )
    lr: float = setting(
        1e-3, "ours", "unpublished for DGSS; the released scripts have 2e-3 and 3e-3 for classification", gt=0, le=1
    )
    weight_decay: float = setting(0.0, "paper", "released scripts", ge=0, lt=1)


class GPS(Method):
    """Trains, of every neuron, the K incoming weights with the largest absolute gradients, and all biases.

    A neuron is an output of a linear layer or of the patch embedding's convolution, whose kernel is flattened to one
    row per output. The gradient is that of the training loss, added up over the estimate's images before its absolute
    value is taken. Biases and LayerScale factors train entirely; norms, position embeddings, class and register tokens
    are frozen. The backbone trains in train mode. All of this is as in the released code. On DINOv2-L, these are
    493,568 weights: 222,208 selected ones, 222,208 biases and 49,152 LayerScale factors.

    For classification, the paper takes the gradient of a supervised contrastive loss on the features of images, so that
    no trained classifier is needed. Segmentation has no feature per class and image. As the released code does for
    segmentation with SAM, the training loss is used here, through a decoder that has been trained on the frozen
    backbone, by the warm-up of the protocol or else in a phase of its own. Gradients are computed in eval mode, so they
    are deterministic; the released code computes them in train mode.
    """

    label = "GPS"
    source = "Zhang et al., Gradient-based Parameter Selection for Efficient Fine-Tuning (GPS), CVPR 2024"
    Settings = GPSSettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze everything except weights and biases of layers that are no norms, and LayerScale factors."""
        self.begin(backbone, train_pretrained=True)
        self._matrices: dict[str, nn.Parameter] = {}
        self._whole: dict[str, nn.Parameter] = {}
        for name, parameter in backbone.named_parameters():
            layer, _, kind = name.rpartition(".")
            norm = "Norm" in type(backbone.get_submodule(layer)).__name__  # also SAM's last norm, named neck
            if not norm and kind == "weight" and parameter.ndim > 1:
                self._matrices[name] = parameter
            elif not norm and (kind.endswith("bias") or kind.startswith("gamma")):
                self._whole[name] = parameter
            else:
                parameter.requires_grad_(False)
        self._sums: dict[str, Tensor] = {}

    def phases(self, budget: Budget) -> tuple[Phase, ...]:
        """Return an estimation and a tuning phase; if the decoder is untrained, a decoder phase comes first.

        Raises:
            UserError: too few iterations for all phases.
        """
        return phases_with_estimate(self.settings, budget, method="gps", passes=1)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group, of whose matrices only selected weights are updated."""
        params = [*self._matrices.values(), *self._whole.values()]
        return [{"params": params, "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]

    def optimizer(self, betas: tuple[float, float], eps: float) -> SparseAdamW:
        """Return the optimizer, with no weight selected yet."""
        names = self._matrices | self._whole
        self._optimizer = SparseAdamW(self.parameter_groups(), betas, eps, names=names)
        return self._optimizer

    def observe_batch(self, batch: EstimationBatch) -> None:
        """Add the gradients of one batch to the sums.

        Raises:
            UserError: a gradient is NaN or infinite.
        """
        loss = batch.loss(batch.images, batch.labels)
        # Blocks after the last out index do not contribute to the loss.
        gradients = torch.autograd.grad(loss, list(self._matrices.values()), materialize_grads=True)
        for name, own in zip(self._matrices, gradients, strict=True):
            gradient = averaged(own)
            if not bool(gradient.isfinite().all()):
                raise UserError(
                    f"gps: the gradient of {name} is not finite at estimation step {batch.step}; lower the learning "
                    "rate of the decoder"
                )
            self._sums[name] = self._sums[name] + gradient if name in self._sums else gradient

    def select(self) -> None:
        """Select the weights with the largest absolute gradients, and all biases and LayerScale factors.

        Raises:
            UserError: all gradients were 0.
        """
        if not any(bool(total.any()) for total in self._sums.values()):
            raise UserError(
                "gps: all gradients were 0 in all estimation steps, so the loss does not depend on the backbone; use a "
                "longer decoder warm-up (protocol: decoder.warmup)"
            )
        for name, matrix in self._matrices.items():
            self._optimizer.select(matrix, largest_per_row(self._sums[name], self.settings.per_neuron))
        for parameter in self._whole.values():
            self._optimizer.select(parameter, torch.ones_like(parameter, dtype=torch.bool))
        self._sums = {}

    def trainable(self) -> int:
        """Return the number of selected weights, biases and LayerScale factors."""
        rows = sum(len(p) * min(self.settings.per_neuron, p[0].numel()) for p in self._matrices.values())
        return rows + sum(parameter.numel() for parameter in self._whole.values())

    def stored_values(self) -> int:
        """Return the number of sums: one per weight of the matrices."""
        return sum(matrix.numel() for matrix in self._matrices.values())

    def delta(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the current values of everything that trains."""
        return self._optimizer.changes()

    def state_dict(self) -> dict[str, Any]:
        """Return the sums so far; after selection there are none, and the optimizer stores the selected weights."""
        return {"sums": self._sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the sums."""
        sums: dict[str, Tensor] = state["sums"]
        self._sums = {name: total.to(self._matrices[name].device) for name, total in sums.items()}


def largest_per_row(values: Tensor, count: int) -> Tensor:
    """Return a mask of the ``count`` largest absolute values in each row of (n, ...), or of all if there are fewer."""
    rows = values.flatten(1).abs()
    chosen = rows.topk(min(count, rows.shape[1])).indices
    return torch.zeros_like(rows, dtype=torch.bool).scatter_(1, chosen, True).view(values.shape)


METHOD = GPS
