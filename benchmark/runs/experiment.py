"""The fixed conditions of one run, made concrete."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace

import numpy as np
import torch

from benchmark.common.errors import UserError
from benchmark.common.statistics import miou
from benchmark.data import loading, rare
from benchmark.data.domains import Domain, files_hash
from benchmark.data.loader import MEMORY, EvaluationSet, TrainingSet
from benchmark.evaluation import detectron
from benchmark.evaluation.evaluate import Look, each_of, evaluate, unseen
from benchmark.models.decoders import build_decoder
from benchmark.models.segmenter import Segmenter, inverse_frequency_weights
from benchmark.models.weights import weight_hash
from benchmark.protocol import RareClassSampling
from benchmark.records import ScoredIn
from benchmark.runs.doubts import constant_loss
from benchmark.runs.job import Job
from benchmark.training.ranks import make_accelerator

HASHED_BATCHES = 2


class Experiment:
    """The fixed conditions of a run: domains found, models built, hashes computed."""

    def __init__(self, job: Job) -> None:
        protocol = self.protocol = job.spec.protocol
        self.job = job
        self.source = Domain.joined(protocol.sources, job.data_root, protocol)
        self.validation = Domain.find(protocol.validation, job.data_root, protocol)
        self.targets = {name: Domain.find(each, job.data_root, protocol) for name, each in protocol.targets.items()}
        self.classes = len(self.source.classes)
        self.accelerator = make_accelerator(protocol.precision)
        self.second: dict[str, float] = {}
        if job.runtime.evaluator is not None:
            if self.accelerator.num_processes > 1:
                raise UserError(
                    f"--evaluator {job.runtime.evaluator} needs a run of one process; leave it out, or start one"
                )
            self.second[f"{job.runtime.evaluator} {detectron.require()}"] = 0.0
        backbone = job.spec.make_backbone()
        self.weights_hash = weight_hash(backbone)
        self.vfm = backbone.facts()
        decoder = build_decoder(protocol.decoder, backbone.embed_dim, self.classes, job.spec.seed)
        self.decoder_hash = weight_hash(decoder)
        workers = loading.data_workers(job.runtime.data_workers, self.accelerator.num_processes)
        self.runtime = replace(job.runtime, data_workers=workers)
        self.data = TrainingSet(
            self.source.samples,
            self.source.reader,
            protocol.augmentation,
            seed=job.spec.seed,
            memory=MEMORY // max(workers, 1),
        )
        found = self.domains()
        for name, domain in found.items():
            domain.require_labelled(name)
        # A protocol may name a split of the source again, as some do for validation; other splits must not overlap.
        stated = {(each.dataset, each.split) for each in protocol.sources}
        for name, split in protocol.splits().items():
            if name in found and (split.dataset, split.split) not in stated:
                found[name].require_unseen(name, self.source)
        weights = self.constant_loss = None
        if protocol.decoder.class_weights == "inverse-sqrt":
            pixels = torch.from_numpy(rare.pixels(self.data.frames, self.classes).sum(0))
            weights = inverse_frequency_weights(pixels)
            self.constant_loss = constant_loss(pixels, weights)
        if protocol.rare_classes is not None:
            self.data.sampling = self._sampling(protocol.rare_classes)
        self.segmenter = Segmenter(backbone, decoder, weights)

    def _sampling(self, stated: RareClassSampling) -> rare.RareClasses:
        """Return the sampling of images with rare classes.

        Raises:
            UserError: no image has enough pixels of a class.
        """
        fields = self.protocol.fields()
        read_as = {name: fields.get(name) for name in ("source", "classes", "label_sets")}
        counts = rare.kept_pixels(self.data.frames, self.classes, read_as)
        try:
            return rare.RareClasses.of(counts, stated.temperature, stated.min_pixels)
        except ValueError as error:
            raise UserError(f"rare_classes.min_pixels: {error}; use a smaller number") from None

    def domains(self) -> dict[str, Domain]:
        """Return every domain by its name in the protocol."""
        return {"source": self.source, "validation": self.validation, **self.targets}

    def notes(self) -> dict[str, tuple[str, ...]]:
        """Return notes about the files, by domain."""
        return {name: domain.notes for name, domain in self.domains().items() if domain.notes}

    def scored_in(self) -> dict[str, ScoredIn]:
        """Return the classes of each target that is scored in others than those trained on."""
        return scored_in(self.targets)

    def data_hash(self) -> str:
        """Return a hash of every sample's id and file sizes, over all domains of the protocol."""
        return files_hash(self.domains())

    def batches_hash(self) -> str:
        """Return a hash of the first batches' ids, pixels and labels: of data, order and augmentation together."""
        digest = hashlib.sha256()
        for position in range(min(HASHED_BATCHES, self.protocol.iterations) * self.protocol.batch):
            item = self.data[position]
            digest.update(str(item["id"]).encode())
            digest.update(item["image"].numpy().astype(np.uint8).tobytes())
            digest.update(item["label"].numpy().astype(np.uint8).tobytes())
        return digest.hexdigest()

    def confusions(self, domain: Domain, tick: Callable[[], None] = lambda: None, look: Look = unseen) -> np.ndarray:
        """Return one confusion matrix per image of a domain; each rank evaluates some of the images.

        The shape is (N, C, C), or (N, K, K + 1) for a domain scored in other classes, see ``evaluate``.
        """
        data = EvaluationSet(domain.samples, domain.reader, test_size=domain.test_size)
        spec, device = self.protocol.evaluation, self.accelerator.device
        # Consecutive images, so that the first rank evaluates the first ones, which are kept as examples.
        part, parts = self.accelerator.process_index, self.accelerator.num_processes
        own = slice(len(data) * part // parts, len(data) * (part + 1) // parts)
        with closing(loading.samples(data, range(len(data))[own], self.runtime.data_workers or 0)) as items:
            matrices = evaluate(self.segmenter, items, self.classes, spec, device, tick, look, domain.merge)
        found = torch.zeros(len(data), *matrices.shape[1:], dtype=torch.int32, device=device)
        found[own] = torch.from_numpy(matrices).to(device)
        return np.asarray(self.accelerator.reduce(found, "sum").cpu())

    def held_out(self) -> float:
        """Return the model's mIoU on the held-out source images."""
        return float(miou(self.confusions(self.validation).sum(0, dtype=np.int64)))

    def confirmed(self, name: str, domain: Domain, tick: Callable[[], None], look: Look) -> np.ndarray:
        """Return :meth:`confusions` of the domain ``name``, confirmed by the second evaluator if there is one.

        Raises:
            DisagreementError: it computes another mIoU.
        """
        if not self.second:
            return self.confusions(domain, tick, look)
        other = detectron.SecondEvaluator(f"{self.protocol.name}/{name}", domain)
        matrices = self.confusions(domain, tick, each_of(look, other.see))
        difference = other.compare(matrices)
        self.second = {evaluator: max(known, difference) for evaluator, known in self.second.items()}
        return matrices


def scored_in(targets: Mapping[str, Domain]) -> dict[str, ScoredIn]:
    """Return the classes of each of ``targets`` that is scored in others than those trained on."""
    merges = {name: domain.merge for name, domain in targets.items() if domain.merge}
    return {
        name: ScoredIn(labels=each.into.name, classes=each.into.names, excluded=each.excluded, wrong=each.wrong)
        for name, each in merges.items()
    }
