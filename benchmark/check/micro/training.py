"""Train a method for a few steps on a tiny model with the real training loop, and collect what it computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from benchmark.check.micro import tiny
from benchmark.check.micro.digest import Numbers
from benchmark.check.micro.settled import Wide
from benchmark.method import Method, Perturbation
from benchmark.models.catalogue import BackboneSpec
from benchmark.models.decoder import Decoder
from benchmark.protocol import Protocol
from benchmark.training.runtime import RuntimeOptions
from benchmark.training.trainer import Trainer


class Run:
    """One training of a method on a tiny model.

    Args:
        method: with its settings; not attached.
        protocol: the conditions.
        spec: the backbone.
        decoder: None for a :class:`tiny.Head`.
        perturbation: of the features, or None.
        runtime: such as micro-batches.
        score: of the model on held-out images, in place of the likelihood of a batch.

    Attributes:
        numbers: what was observed: losses and gradient norms of each step, learning rates, the method's state after
            the estimate.

    Raises:
        UserError: the method refuses the backbone or the protocol.
    """

    def __init__(
        self,
        method: Method,
        protocol: Protocol,
        spec: BackboneSpec = tiny.PLAIN,
        decoder: Decoder | None = None,
        perturbation: Perturbation | None = None,
        runtime: RuntimeOptions | None = None,
        score: Callable[[], float] | None = None,
    ) -> None:
        self.method, self.numbers = method, Numbers()
        self._score = score or self._likelihood
        self.segmenter = tiny.segmenter(spec, decoder)
        if decoder is not None and protocol.decoder.class_weights == "none":
            self.segmenter.class_weights = None
        self.pretrained = {name: value.clone() for name, value in self.segmenter.backbone.vit.state_dict().items()}
        self.trainer = Trainer(
            protocol, 0, self.segmenter, method, tiny.Frames(), Accelerator(cpu=True), perturbation, runtime
        )
        self._rates: list[float] = []
        self._steps = dict.fromkeys(self.trainer.optimizers, 0)
        for side, optimizer in self.trainer.optimizers.items():
            optimizer.register_step_pre_hook(self._before_step(side))

    def _before_step(self, side: str) -> Callable[..., None]:
        def see(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            self._steps[side] += 1
            for number, group in enumerate(optimizer.param_groups):
                gradients = [p.grad for p in group["params"] if p.grad is not None]
                norm = sum(float(gradient.square().sum()) for gradient in gradients) ** 0.5
                self.numbers.put(f"{side} group {number}: gradient norm at step {self._steps[side]}", norm)
                self._rates += [group["lr"], group["weight_decay"], len(gradients), *group["betas"], group["eps"]]

        return see

    def train(self) -> None:
        """Run all steps."""
        with Wide():
            self.trainer.run(lambda step: {}, tick=self._tick, held_out=self._score)
        self.numbers.put("learning rates and weight decays", self._rates)

    def _tick(self, progress: Any, losses: dict[str, float]) -> None:
        for name, value in losses.items():
            self.numbers.put(f"{name} at iteration {progress.step}", value)

    def _likelihood(self) -> float:
        """Return a score in 0..1 of a batch, as mIoU on held-out images would be."""
        with torch.no_grad():
            losses = self.segmenter.eval().losses(*tiny.batch())
        return float(torch.exp(-torch.stack(list(losses.values())).sum()))

    @torch.no_grad()
    def features(self, *, training: bool = False) -> list[Tensor]:
        """Return the block outputs of a batch, in train mode (with fixed dropout) or eval mode."""
        self.segmenter.eval()
        if training:
            self.method.train_mode()
        torch.manual_seed(1)
        with Wide():
            return self.segmenter.features(tiny.batch()[0])

    @torch.no_grad()
    def logits(self) -> Tensor:
        """Return the logits of a batch in eval mode."""
        with Wide():
            return self.segmenter.eval()(tiny.batch()[0])
