"""ONE training loop for every method. It never asks which method it trains.

Random numbers inside the model (drop path, dropout, points of a loss) come from the RNG stream (seed, "model", position
of the batch in the data), samples and augmentation from their position in the data. A resumed run therefore needs no
generator state and ends bit-identical to an uninterrupted one.

Ranks divide each batch equally: a rank takes consecutive images, losses are divided by the normaliser of the whole
batch, and gradients and estimates are those of the whole batch on every rank. A rank may process its images in several
micro-batches; a method that estimates sees all of the rank's images at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Dataset

from benchmark.common.errors import UserError
from benchmark.common.microbatch import MicroBatch
from benchmark.common.rng import derive_seed, torch_rng
from benchmark.data import loading
from benchmark.data.loader import TrainingItem
from benchmark.method import Decoding, EstimationBatch, Method, Perturbation, Phase
from benchmark.models import compiled
from benchmark.models.backbone import checkpoint_blocks
from benchmark.models.segmenter import Segmenter
from benchmark.protocol import Protocol
from benchmark.training.batch import Batch
from benchmark.training.progress import Progress
from benchmark.training.ranks import Losses, images_per_rank
from benchmark.training.reached import without_gradient
from benchmark.training.resume import TrainingState
from benchmark.training.runtime import RuntimeOptions
from benchmark.training.schedule import Slot, evaluation_steps, missing, schedule, timeline

CHECKPOINT_SECONDS = 60.0
Evaluate = Callable[[int], dict[str, Any]]


class Trainer:
    """Segmenter, method and both optimizers, and the step that updates them.

    Args:
        protocol: the fixed conditions.
        seed: of every RNG stream.
        segmenter: backbone and freshly initialised decoder; the method is attached here.
        method: the fine-tuning method.
        data: training samples by position.
        accelerator: device, ranks, precision.
        perturbation: feature perturbation in training steps, for any method.
        runtime: with the number of data-loader workers decided; None of them loads in this process.

    Raises:
        UserError: a batch that ranks and micro-batches cannot divide equally; phases of a method that do not sum to
            the iterations it gets; a perturbation with micro-batches; no compiler where compilation is asked for.
    """

    def __init__(
        self,
        protocol: Protocol,
        seed: int,
        segmenter: Segmenter,
        method: Method,
        data: Dataset[TrainingItem],
        accelerator: Accelerator,
        perturbation: Perturbation | None = None,
        runtime: RuntimeOptions | None = None,
    ) -> None:
        self.protocol, self.seed, self.segmenter, self.method = protocol, seed, segmenter, method
        self.data, self.accelerator = data, accelerator
        self.progress = Progress()
        self.runtime = runtime or RuntimeOptions()
        self.images = images_per_rank(protocol, accelerator.num_processes, self.runtime.accumulate)
        self.rows = MicroBatch(accelerator.process_index, accelerator.num_processes)
        self._attach(perturbation)
        self.tunable = [p for p in segmenter.backbone.parameters() if p.requires_grad]
        self.model = accelerator.prepare(Losses(segmenter))
        self.optimizers = self._make_optimizers()
        self.timeline = timeline(method, protocol)
        self.state = TrainingState(protocol, segmenter, method, self.optimizers, accelerator, self.timeline)

    def _attach(self, perturbation: Perturbation | None) -> None:
        backbone, method = self.segmenter.backbone, self.method
        self.segmenter.to(self.accelerator.device)
        method.attach(backbone, torch_rng(self.seed, "method"))
        if perturbation is not None:
            if self.runtime.accumulate > 1:
                raise UserError("feature perturbation needs the statistics of a whole batch; leave --accumulate out")
            perturbation.join(method)
        if (queries := method.queries()) is not None:
            self.segmenter.decoder.link(queries, self.seed)
        if self.runtime.compile:
            compiled.require(self.accelerator.device)
            compiled.compile_blocks(backbone)
        if self.runtime.checkpointing:
            checkpoint_blocks(backbone)

    def _make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        protocol, spec = self.protocol, self.protocol.decoder
        groups = self.segmenter.decoder.parameter_groups(spec.weight_decay)
        optimizers: dict[str, torch.optim.Optimizer] = {
            "decoder": torch.optim.AdamW(groups, spec.lr, protocol.betas, protocol.eps, fused=True)
        }
        if (tuner := self.method.optimizer(protocol.betas, protocol.eps)) is not None:
            optimizers["backbone"] = tuner
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]
        return optimizers

    # ---------------------------------------------------------------------------------------------------
    # The training step.
    # ---------------------------------------------------------------------------------------------------

    def step(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """Run the step at ``progress.place`` on this rank's images of a batch; return the batch's named losses."""
        slot = self.timeline[self.progress.place]
        phase = slot.phase
        self.enter(phase)
        if phase.estimate:
            return self._observe(images, labels, slot)

        # Forward and backward over micro-batches: gradients accumulate.
        losses: dict[str, Tensor] = {}
        normaliser = self._normaliser(labels)
        for part in self._micro_batches(images, labels, self.runtime.accumulate, slot):
            with self._gradient_exchange(part):
                with self.accelerator.autocast(), part.rows.whole_batch_draws():
                    named = self.model(part.images, part.labels, normaliser, part.rows)
                    if phase.backbone:
                        named = named | self._method_losses(part, slot)
                self.accelerator.backward(torch.stack(list(named.values())).sum())
            for name, value in named.items():
                losses[name] = losses.get(name, 0) + value.detach()
        if phase.backbone and self.progress.unreached is None:
            self.progress.unreached = without_gradient(self.method)

        # Check: the losses of the whole batch are numbers.
        values = self._mean_over_ranks(losses)
        total = sum(values.values())
        if not math.isfinite(total):
            raise FloatingPointError(f"the loss is {total} at iteration {slot.iteration + 1} (phase {phase.name})")

        # Update: the optimizers that this phase trains.
        if phase.backbone:
            self.method.before_step(slot.index, phase.iterations)
        factor = 1.0 if phase.extra else schedule(self.protocol, slot.iteration)
        for optimizer in (self.optimizers[side] for side in phase.trains if side in self.optimizers):
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
            optimizer.step()
        self.model.zero_grad(set_to_none=True)
        return values

    # ---------------------------------------------------------------------------------------------------

    def _observe(self, images: Tensor, labels: Tensor, slot: Slot) -> dict[str, float]:
        """Let the method observe a batch of its estimation phase; nothing is updated and there are no losses."""
        step, steps = slot.index, slot.phase.iterations
        # Estimates watch single operations, which compiled blocks do not show.
        with compiled.uncompiled() if self.runtime.compile else nullcontext():
            for part in self._micro_batches(images, labels, 1, slot):
                self.method.observe_batch(self.estimation(part.images, part.labels, self.seed, step, steps))
        if step == steps - 1:
            self.method.select()
        self.model.zero_grad(set_to_none=True)
        return {}

    def _micro_batches(self, images: Tensor, labels: Tensor, count: int, slot: Slot) -> Iterator[Batch]:
        """Yield the rank's images in ``count`` micro-batches, with torch's generator seeded for each.

        All micro-batches of a step share one RNG stream and take their rows of what is drawn for the whole batch. The
        0 keeps the random numbers of older records.
        """
        for part in Batch(images, labels, self.rows).split(count):
            torch.manual_seed(derive_seed(self.seed, "model", slot.batch, 0))
            yield part

    def _gradient_exchange(self, part: Batch) -> AbstractContextManager[Any]:
        """Let ranks exchange gradients once per step, after the last micro-batch."""
        return nullcontext() if part.last else self.accelerator.no_sync(self.model)

    def _method_losses(self, part: Batch, slot: Slot) -> dict[str, Tensor]:
        """Return the method's own losses, each divided by the number of micro-batches."""
        rng = torch_rng(self.seed, "decoding", slot.iteration, 0)
        decode = partial(self.segmenter.decode, images=part.images)
        decoding = Decoding(decode, rng, slot.index, slot.phase.iterations, part.rows)
        return {name: value / self.runtime.accumulate for name, value in self.method.losses(decoding).items()}

    def _normaliser(self, labels: Tensor) -> Tensor:
        """Return the mean of all ranks' loss normalisers: losses divided by it average to the whole batch's."""
        return self.accelerator.reduce(self.segmenter.normaliser(labels), "mean")

    def _mean_over_ranks(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """Return the whole batch's losses, the same on every rank."""
        values = self.accelerator.reduce(torch.stack(list(losses.values())), "mean")
        return dict(zip(losses, values.tolist(), strict=True))

    def enter(self, phase: Phase) -> None:
        """Set modules to the phase's mode. A backbone that neither trains nor is estimated builds no graph.

        The decoder that a phase on top of the iterations trains is put back for the next iteration.
        """
        if phase.extra and phase.decoder:
            self.state.set_decoder_aside()
        elif not phase.extra:
            self.state.put_decoder_back()
        self.segmenter.decoder.train(phase.decoder and not phase.estimate)
        if phase.backbone and not phase.estimate:
            self.method.train_mode()
        else:
            self.segmenter.backbone.eval()
        for parameter in self.tunable:
            parameter.requires_grad_(phase.backbone or phase.estimate)

    def estimation(self, images: Tensor, labels: Tensor, seed: int, step: int, steps: int) -> EstimationBatch:
        """Return what a method observes in step ``step`` of an estimate with the RNG streams of ``seed``."""
        rng = torch_rng(seed, "estimation", step)
        return EstimationBatch(images, labels, self.segmenter, self._loss, rng, step, steps, self.rows)

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        losses = self.segmenter.losses(images, labels, self._normaliser(labels), self.rows)
        return torch.stack(list(losses.values())).sum()

    # ---------------------------------------------------------------------------------------------------
    # The loop around it: batches, evaluations, checkpoints.
    # ---------------------------------------------------------------------------------------------------

    def run(
        self,
        evaluate: Evaluate,
        save: Path | None = None,
        key: str = "",
        tick: Callable[[Progress, dict[str, float]], None] = lambda progress, losses: None,
        until: int | None = None,
        held_out: Callable[[], float] = lambda: 0.0,
        here: dict[str, Any] | None = None,
    ) -> Progress:
        """Train from ``progress.place`` to the end.

        Args:
            evaluate: called with the iterations done whenever the protocol schedules an evaluation.
            save: the checkpoint's path; None for no checkpoint.
            key: what the checkpoint belongs to; one with another key is never resumed.
            tick: called with the step's losses at the end of each step. It may raise KeyboardInterrupt, as
                ``evaluate`` may, which saves a checkpoint.
            until: stop after this many steps; None trains to the end.
            held_out: returns the model's mIoU on held-out source images, for :meth:`Method.finish`.
            here: the conditions of this execution, JSON-ready, for :attr:`Progress.segments`.

        Raises:
            FloatingPointError: the loss is no longer finite.
        """
        if save is not None:
            self.progress = self.state.resume(save, key) or self.progress
        self.held_out = held_out
        self.progress.begin(here or {})
        progress, saved, finite = self.progress, time.monotonic(), dict[str, float]()
        held = ExitStack()  # ends the data-loader workers together with the loop
        try:
            self._complete_evaluations(evaluate)
            for images, labels in held.enter_context(closing(self._batches(until))):
                losses = self._iterate(images, labels, evaluate)
                if save is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.state.save(save, key, progress)
                    saved = time.monotonic()
                tick(progress, losses)
                finite = losses or finite
        except FloatingPointError as error:
            raise progress.diverged(error, finite) from None
        except KeyboardInterrupt:
            if save is not None:
                self.state.save(save, key, progress)
            raise
        finally:
            held.close()
        return progress

    def _iterate(self, images: Tensor, labels: Tensor, evaluate: Evaluate) -> dict[str, float]:
        """Run one step, and the evaluation scheduled after it; return the step's losses."""
        phase = self.timeline[self.progress.place].phase
        with self.progress.timed(phase.name):
            losses = self.step(images, labels)
        self.progress.done(losses, self.protocol.iterations, extra=phase.extra)
        if not phase.extra and self.progress.step in evaluation_steps(self.protocol):
            self._evaluate(evaluate)
        return losses

    def _complete_evaluations(self, evaluate: Evaluate) -> None:
        """Repeat an interrupted evaluation; and the final one, of which a record needs more than a checkpoint holds."""
        progress = self.progress
        if len(progress.scores) == len(evaluation_steps(self.protocol)):
            progress.scores.pop()
        if missing(self.protocol, progress.step, len(progress.scores)) > 0:
            self._evaluate(evaluate)

    def _evaluate(self, evaluate: Evaluate) -> None:
        if self.progress.step == self.protocol.iterations and type(self.method).finish is not Method.finish:
            with self.progress.timed("finish"):
                self.method.finish(self.held_out)
        with self.progress.timed("evaluation"):
            self.progress.scores.append(evaluate(self.progress.step))

    def _batches(self, until: int | None) -> Generator[tuple[Tensor, Tensor]]:
        """Yield this rank's images of each batch from the current step on, on the device."""
        batch, start = self.protocol.batch, self.rows.index * self.images
        slots = self.timeline[self.progress.place : until]
        positions = [slot.batch * batch + start + place for slot in slots for place in range(self.images)]
        with closing(loading.batches(self.data, positions, self.images, self.runtime.data_workers or 0)) as items:
            for item in items:
                yield item["image"].to(self.accelerator.device), item["label"].to(self.accelerator.device)
