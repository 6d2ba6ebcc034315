"""ONE loop for every method. It never asks which method it trains.

All chance inside the model at iteration t (drop path, dropout, points of a loss) comes from the stream
(seed, "model", t), and sample and augmentation from the position in the data; so a resumed run needs no random
state, and ends bit-identical to an undisturbed one.

Several processes share each batch equally: a process takes consecutive images of it, losses are divided by what the
whole batch holds, and gradients and estimates are those of the whole batch on every process. In the same way a process
may go through its share in several steps; where a method estimates it sees the share at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.utils.data import Dataset

from benchmark.common.errors import UserError
from benchmark.common.microbatch import MicroBatch
from benchmark.common.rng import derive_seed, torch_rng
from benchmark.data import loading
from benchmark.data.loader import TrainingItem
from benchmark.method import Decoding, Estimation, Method, Perturbation, Phase
from benchmark.models import compiled
from benchmark.models.backbone import checkpoint_blocks
from benchmark.models.segmenter import Segmenter
from benchmark.protocol import Protocol
from benchmark.training.progress import Progress
from benchmark.training.resume import Resumable
from benchmark.training.runtime import RuntimeOptions
from benchmark.training.schedule import evaluation_steps, missing, schedule, timeline

CHECKPOINT_SECONDS = 60.0


class Losses(nn.Module):
    """The forward pass as one module call, which is what data-parallel wrappers intercept."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, images: Tensor, labels: Tensor, normaliser: Tensor, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """Return the decoder's named losses, see :meth:`Segmenter.losses`."""
        return self.segmenter.losses(images, labels, normaliser, micro_batch)


def make_accelerator(precision: str) -> Accelerator:
    """Return device, processes and precision of a run: a GPU where there is one, processes as torchrun started them.

    Args:
        precision: as the protocol has it.
    """
    gpu = torch.cuda.is_available()
    # A phase leaves one side's weights without gradients, and methods have some that no loss reaches.
    parallel = DistributedDataParallelKwargs(find_unused_parameters=True)
    mixed = "bf16" if precision == "auto" and gpu else "no"
    return Accelerator(cpu=not gpu, mixed_precision=mixed, kwargs_handlers=[parallel])


def share_of(protocol: Protocol, processes: int, accumulate: int = 1) -> int:
    """Return how many images of each batch fall to one of ``processes``, which take them in ``accumulate`` steps.

    Raises:
        UserError: processes or steps cannot have as many each.
    """
    if protocol.batch % (processes * accumulate):
        fitting = ", ".join(str(n) for n in range(1, protocol.batch + 1) if protocol.batch % n == 0)
        steps = f" in {accumulate} steps (--accumulate) each" if accumulate > 1 else ""
        what = "processes times steps must be one of" if accumulate > 1 else "start"
        raise UserError(
            f"protocol {protocol.name} has {protocol.batch} images per batch, which {processes} processes{steps} "
            f"cannot share equally; {what} {fitting}"
        )
    return protocol.batch // processes


class Trainer:
    """A run in the making: segmenter, method and both optimizers, and the step that moves them.

    Args:
        protocol: the fixed conditions.
        seed: of every random stream.
        segmenter: backbone and freshly initialised decoder; the method is attached here.
        method: the fine-tuning method.
        data: (iterations x batch) training samples by position.
        accelerator: device, processes, precision.
        perturbation: goes with the method in its training steps, whichever it is.
        execution: how it is carried out, with the number of loaders decided; None of either loads here.

    Raises:
        UserError: a batch that the processes cannot share equally; a method's phases of another length than offered;
            a perturbation where a batch is not seen at once; something to compile, and no compiler.
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
        self.share = share_of(protocol, accelerator.num_processes, self.runtime.accumulate)
        self.micro_batch = MicroBatch(accelerator.process_index, accelerator.num_processes)
        segmenter.to(accelerator.device)
        method.attach(segmenter.backbone, torch_rng(seed, "method"))
        if perturbation is not None:
            if self.runtime.accumulate > 1:
                raise UserError("feature perturbation needs the statistics of a whole batch; leave --accumulate out")
            perturbation.join(method)
        if (queries := method.queries()) is not None:
            segmenter.decoder.link(queries, seed)
        if self.runtime.compile:
            compiled.require(accelerator.device)
            compiled.compile_blocks(segmenter.backbone)
        if self.runtime.checkpointing:
            checkpoint_blocks(segmenter.backbone)
        self.tunable = [p for p in segmenter.backbone.parameters() if p.requires_grad]
        self.model = accelerator.prepare(Losses(segmenter))
        spec = protocol.decoder
        groups = segmenter.decoder.parameter_groups(spec.weight_decay)
        decoder = torch.optim.AdamW(groups, spec.lr, protocol.betas, protocol.eps, fused=True)
        tuner = method.optimizer(protocol.betas, protocol.eps)
        self.optimizers = {"decoder": decoder} | ({"backbone": tuner} if tuner is not None else {})
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]
        self.timeline = timeline(method, protocol)
        self.resumable = Resumable(protocol, segmenter, method, self.optimizers, accelerator)

    # ---------------------------------------------------------------------------------------------------
    # the training step
    # ---------------------------------------------------------------------------------------------------

    def step(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """Do iteration ``progress.step`` on this process's share of a batch; return the batch's named losses."""
        t = self.progress.step
        phase, first = self.timeline[t]
        self._seed_model()
        self.enter(phase)
        if phase.estimate:
            # Estimates watch single operations, which compiled blocks do not show.
            with compiled.uncompiled() if self.runtime.compile else nullcontext():
                self.method.estimate(self.estimation(images, labels, self.seed, t - first, phase.iterations))
            if t - first == phase.iterations - 1:
                self.method.estimated()
            self.model.zero_grad(set_to_none=True)
            return {}
        named = self._named(self._gradients(images, labels, phase, t - first))
        total = sum(named.values())
        if not math.isfinite(total):
            raise FloatingPointError(f"the loss is {total} at iteration {t + 1} (phase {phase.name})")
        if phase.backbone:
            self.method.before_step(t - first, phase.iterations)
        factor = schedule(self.protocol, t)
        for side, optimizer in self.optimizers.items():
            if phase.decoder if side == "decoder" else phase.backbone:
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * factor
                optimizer.step()
        self.model.zero_grad(set_to_none=True)
        return named

    def _gradients(self, images: Tensor, labels: Tensor, phase: Phase, step: int) -> dict[str, Tensor]:
        """Let gradients of the batch's loss stand on the parameters; return this process's part of the losses."""
        count, normaliser = self.runtime.accumulate, self._normaliser(labels)
        sums: dict[str, Tensor] = {}
        for place, (some, theirs) in enumerate(zip(images.chunk(count), labels.chunk(count), strict=True)):
            micro_batch = MicroBatch(self.micro_batch.index * count + place, self.micro_batch.of * count)
            self._seed_model()
            together = nullcontext() if place == count - 1 else self.accelerator.no_sync(self.model)
            with together:  # processes exchange gradients once, after the last of the steps
                with self.accelerator.autocast(), micro_batch.whole_batch_draws():
                    losses = self.model(some, theirs, normaliser, micro_batch)
                    if phase.backbone:
                        extra = self.method.losses(self._decoding(phase, step, micro_batch))
                        losses = losses | {name: value / count for name, value in extra.items()}
                self.accelerator.backward(torch.stack(list(losses.values())).sum())
            for name, value in losses.items():
                sums[name] = sums[name] + value.detach() if name in sums else value.detach()
        return sums

    def _seed_model(self) -> None:
        # One stream for all portions of a batch, which take their rows of it; the 0 keeps older records' numbers.
        torch.manual_seed(derive_seed(self.seed, "model", self.progress.step, 0))

    # ---------------------------------------------------------------------------------------------------

    def run(
        self,
        score: Callable[[int], dict[str, Any]],
        save: Path | None = None,
        key: str = "",
        tick: Callable[[int, dict[str, float]], None] = lambda step, losses: None,
        until: int | None = None,
    ) -> Progress:
        """Train from ``progress.step`` to the end.

        Args:
            score: called with the iterations done whenever the protocol asks for a scoring.
            save: where to keep the checkpoint; None for none.
            key: what the checkpoint belongs to; another key's is never resumed.
            tick: called at the end of each iteration; may raise KeyboardInterrupt, as ``score`` may, which saves a
                checkpoint.
            until: stop after so many iterations; None trains to the end.

        Raises:
            FloatingPointError: the loss is no longer a number.
        """
        if save is not None:
            self.progress = self.resumable.resume(save, key) or self.progress
        progress, saved, good = self.progress, time.monotonic(), dict[str, float]()
        held = ExitStack()  # what loads has to end where the loop does
        try:
            self._score_again(score)
            for images, labels in held.enter_context(closing(self._batches(until))):
                losses = self._iterate(images, labels, score)
                if save is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.resumable.save(save, key, progress)
                    saved = time.monotonic()
                tick(progress.step, losses)
                good = losses or good
        except FloatingPointError as error:
            raise progress.diverged(error, good) from None
        except KeyboardInterrupt:
            if save is not None:
                self.resumable.save(save, key, progress)
            raise
        finally:
            held.close()
        return progress

    def _iterate(self, images: Tensor, labels: Tensor, score: Callable[[int], dict[str, Any]]) -> dict[str, float]:
        """Make the step of the present iteration, and the scoring that is due after it; return the step's losses."""
        phase, _ = self.timeline[self.progress.step]
        with self.progress.timed(phase.name):
            losses = self.step(images, labels)
        self.progress.done(losses, self.protocol.iterations)
        if self.progress.step in evaluation_steps(self.protocol):
            self._score(score)
        return losses

    def _score_again(self, score: Callable[[int], dict[str, Any]]) -> None:
        """Make the scoring that was stopped; and the last one, of which a record holds more than a checkpoint."""
        progress = self.progress
        if len(progress.scores) == len(evaluation_steps(self.protocol)):
            progress.scores.pop()
        if missing(self.protocol, progress.step, len(progress.scores)) > 0:
            self._score(score)

    def _score(self, score: Callable[[int], dict[str, Any]]) -> None:
        with self.progress.timed("evaluation"):
            self.progress.scores.append(score(self.progress.step))

    def _batches(self, until: int | None) -> Generator[tuple[Tensor, Tensor]]:
        """Yield this process's share of the protocol's batches from the present iteration on, on the device."""
        batch, start = self.protocol.batch, self.micro_batch.index * self.share
        iterations = range(self.progress.step, self.protocol.iterations if until is None else until)
        positions = [t * batch + start + place for t in iterations for place in range(self.share)]
        with closing(loading.batches(self.data, positions, self.share, self.runtime.data_workers or 0)) as items:
            for item in items:
                yield item["image"].to(self.accelerator.device), item["label"].to(self.accelerator.device)

    def _normaliser(self, labels: Tensor) -> Tensor:
        """Return the mean of all processes' masses: sums divided by it have the batch's loss for their mean."""
        return self.accelerator.reduce(self.segmenter.normaliser(labels), "mean")

    def _named(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """Return the batch's losses, the same on every process."""
        values = self.accelerator.reduce(torch.stack(list(losses.values())), "mean")
        return dict(zip(losses, values.tolist(), strict=True))

    def enter(self, phase: Phase) -> None:
        """Put modules into the phase's mode; a backbone that nobody looks at builds no graph."""
        self.segmenter.decoder.train(phase.decoder and not phase.estimate)
        if phase.backbone and not phase.estimate:
            self.method.train_mode()
        else:
            self.segmenter.backbone.eval()
        for parameter in self.tunable:
            parameter.requires_grad_(phase.backbone or phase.estimate)

    def estimation(self, images: Tensor, labels: Tensor, seed: int, step: int, steps: int) -> Estimation:
        """Return what a method may look at in iteration ``step`` of an estimate whose chance comes from ``seed``."""
        rng = torch_rng(seed, "estimation", step)
        return Estimation(images, labels, self.segmenter, self._loss, rng, step, steps, self.micro_batch)

    def _decoding(self, phase: Phase, step: int, micro_batch: MicroBatch) -> Decoding:
        rng = torch_rng(self.seed, "decoding", self.progress.step, 0)
        return Decoding(self.segmenter.decoder, rng, step, phase.iterations, micro_batch)

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        return torch.stack(
            list(self.segmenter.losses(images, labels, self._normaliser(labels), self.micro_batch).values())
        ).sum()
