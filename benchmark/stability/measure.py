"""Measurement of one seed: warm up the decoder once, then estimate twice with each estimator."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, get_args

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from benchmark.common import machine
from benchmark.common.rng import derive_seed, torch_rng
from benchmark.data.domains import Domain
from benchmark.data.loader import TrainingSet
from benchmark.method import Phase
from benchmark.models.weights import weight_hash
from benchmark.runs.events import Loading, Notify, Step, Training, ignore
from benchmark.runs.experiment import Experiment
from benchmark.runs.job import Job
from benchmark.stability.record import Agreement, Criterion, Estimator, Point, Stability, TargetOverlap
from benchmark.training.trainer import Trainer

ESTIMATES = 2
PER_SAMPLE = "per-sample"


@dataclass(frozen=True)
class Stop:
    """The state of an estimate after some images: the selection of each criterion, and the cost so far."""

    choices: dict[Criterion, Any]
    evaluations: dict[Criterion, int]
    seconds: float
    cpu_seconds: float


def measure(job: Job, images: Sequence[int], notify: Notify = ignore) -> Stability:
    """Measure the agreement of two independent estimates, for every estimator and criterion.

    Args:
        job: a ``fishertune`` job; its hyperparameters are used except for estimator and criterion.
        images: numbers of images at which to compare, increasing multiples of the protocol's batch size.
        notify: receives the run's events.

    Raises:
        UserError: data, weights or backbone are unusable, or a gradient is not finite.
    """
    started, cpu = datetime.now(timezone.utc), time.process_time()
    torch.set_num_threads(job.runtime.threads)
    notify(Loading())
    experiment = Experiment(job)
    method = job.spec.make_method()
    trainer = Trainer(
        job.spec.protocol, job.spec.seed, experiment.segmenter, method, experiment.data, experiment.accelerator,
        runtime=experiment.runtime,
    )  # fmt: skip
    bench = Bench(job, experiment, trainer, list(images), notify)
    bench.warm_up()
    conditions = {
        "protocol": job.spec.protocol.name,
        "protocol_fields": job.spec.protocol.fields(),
        "fingerprint": job.spec.protocol.fingerprint(),
        "data_hash": experiment.data_hash(),
        "batches_hash": experiment.batches_hash(),
        "decoder_hash": experiment.decoder_hash,
        "warm_hash": weight_hash(experiment.segmenter.decoder),
        "warmup": job.spec.protocol.decoder.warmup,
        "backbone": job.spec.backbone,
        "weights_hash": experiment.weights_hash,
        "settings": json.loads(method.settings.model_dump_json()),
        "seed": job.spec.seed,
        "frames": len(experiment.source.samples),
        "versions": machine.versions(),
        "commit": machine.commit(),
        "machine": machine.describe(job.runtime.threads),
        "started": started.isoformat(timespec="seconds"),
    }
    curves = bench.curves()
    facts = {
        "candidates": bench.candidates,
        "chosen": method.trainable(),
        "curves": curves,
        "targets": bench.targets(experiment.targets),
        "seconds": trainer.progress.seconds | {name: 2 * points[-1].seconds for name, points in curves.items()},
        "cpu_seconds": time.process_time() - cpu,
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    return Stability.model_validate(conditions | facts)


class Bench:
    """The model after decoder warm-up, and the images of two estimates, disjoint if the source has enough."""

    def __init__(self, job: Job, experiment: Experiment, trainer: Trainer, images: list[int], notify: Notify) -> None:
        self.job, self.trainer, self.images, self.notify = job, trainer, images, notify
        self.seed = derive_seed(job.spec.seed, "stability")  # another image order than in the decoder's warm-up
        source, augmentation = experiment.source, job.spec.protocol.augmentation
        sampling = experiment.data.sampling
        self.data = TrainingSet(source.samples, source.reader, augmentation, seed=self.seed, sampling=sampling)
        self.candidates = 0
        self.scored = [name for name, domain in experiment.targets.items() if domain.merge is None]
        self.source: dict[Criterion, Any] = {}
        self.done, self.total = 0, job.spec.protocol.decoder.warmup

    def warm_up(self) -> None:
        """Train the decoder on the frozen backbone: the same first iterations as in every run of this seed."""
        self.notify(Training("warming up the decoder"))
        warmup = self.job.spec.protocol.decoder.warmup
        estimates = ESTIMATES * (len(get_args(Estimator)) + len(self.scored))
        self.total = warmup + estimates * (self.images[-1] // self.job.spec.protocol.batch)
        self.trainer.run(lambda step: {}, until=warmup, tick=lambda progress, losses: self._tick(losses))

    def curves(self) -> dict[str, tuple[Point, ...]]:
        """Return every estimator's curve."""
        return {name: self._curve(name) for name in get_args(Estimator)}

    def _curve(self, estimator: str) -> tuple[Point, ...]:
        first, second = (self._stops(estimator, which, self.data) for which in range(ESTIMATES))
        if estimator == PER_SAMPLE:
            self.source = first[-1].choices
        return tuple(
            Point(
                images=count,
                common=len(self._frames(0, count) & self._frames(1, count)),
                seconds=(one.seconds + other.seconds) / ESTIMATES,
                cpu_seconds=(one.cpu_seconds + other.cpu_seconds) / ESTIMATES,
                agreement={
                    name: Agreement(overlap=choice.overlap(other.choices[name]), evaluations=one.evaluations[name])
                    for name, choice in one.choices.items()
                },
            )
            for count, one, other in zip(self.images, first, second, strict=True)
        )

    def targets(self, domains: Mapping[str, Domain]) -> dict[str, TargetOverlap]:
        """Return how far selections on the source agree with those by F on the images of each target.

        The images are cropped and altered as in training. Call it after :meth:`curves`.
        """
        found, augmentation = {}, self.job.spec.protocol.augmentation
        for name in self.scored:
            domain = domains[name]
            data = TrainingSet(domain.samples, domain.reader, augmentation, seed=self.seed)
            one, other = (self._stops(PER_SAMPLE, which, data)[-1].choices["f"] for which in range(ESTIMATES))
            source = {
                criterion: (one.overlap(choice) + other.overlap(choice)) / ESTIMATES
                for criterion, choice in self.source.items()
            }
            found[name] = TargetOverlap(itself=one.overlap(other), source=source)
        return found

    def _stops(self, estimator: str, which: int, data: TrainingSet) -> list[Stop]:
        """Compute one estimate from ``data``, and return its state at each of the numbers of images."""
        batch, steps = self.job.spec.protocol.batch, self.images[-1] // self.job.spec.protocol.batch
        method: Any = replace(self.job.spec, given={"estimator": estimator}).make_method()
        method.attach(self.trainer.segmenter.backbone, torch_rng(self.job.spec.seed, "method"))
        self.trainer.enter(Phase("estimate", steps, backbone=False, decoder=False, estimate=True))
        self.notify(Training(f"{estimator}, estimate {which + 1} of {ESTIMATES}"))
        wall = cpu = 0.0
        stops = []
        for step, (images, labels) in enumerate(self._batches(which, data)):
            estimation = self.trainer.estimation(images, labels, derive_seed(self.seed, which), step, steps)
            began = time.perf_counter(), time.process_time()
            method.observe_batch(estimation)
            wall, cpu = wall + time.perf_counter() - began[0], cpu + time.process_time() - began[1]
            self._tick({})
            if (step + 1) * batch in self.images:
                choices = {name: method.choice(name) for name in get_args(Criterion)}
                stops.append(Stop(choices, {name: method.evaluations(name) for name in choices}, wall, cpu))
        self.candidates = sum(candidate.numel() for candidate in stops[0].choices["f"].candidates)
        return stops

    def _positions(self, which: int, count: int) -> range:
        return range(which * self.images[-1], which * self.images[-1] + count)

    def _frames(self, which: int, count: int) -> set[int]:
        return {self.data.index(position) for position in self._positions(which, count)}

    def _batches(self, which: int, data: TrainingSet) -> Iterator[tuple[Tensor, Tensor]]:
        device = self.trainer.accelerator.device
        shown = Subset(data, self._positions(which, self.images[-1]))
        for item in DataLoader(shown, self.job.spec.protocol.batch, generator=torch.Generator()):
            yield item["image"].to(device), item["label"].to(device)

    def _tick(self, losses: dict[str, float]) -> None:
        self.done += 1
        self.notify(Step(self.done, self.total, losses))
