"""One run, from its conditions to its record."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import numpy as np
import torch

from benchmark.artifacts import delta
from benchmark.artifacts.predictions import Examples
from benchmark.common import machine
from benchmark.common.errors import UserError
from benchmark.common.statistics import miou
from benchmark.data import loading
from benchmark.data.domains import Domain
from benchmark.data.loader import MEMORY, EvaluationSet, TrainingSet
from benchmark.evaluation import detectron
from benchmark.evaluation.evaluate import Look, each_of, evaluate, unseen
from benchmark.method import Method
from benchmark.models.decoders import build_decoder
from benchmark.models.segmenter import Segmenter, inverse_frequency_weights
from benchmark.models.weights import weight_hash
from benchmark.records import SOURCE, Record, Score, write
from benchmark.runs import tracking
from benchmark.runs.job import Job
from benchmark.training import checkpoint
from benchmark.training.progress import Progress
from benchmark.training.trainer import Trainer, make_accelerator

HASHED_BATCHES = 2
Notify = Callable[..., None]


class Experiment:
    """The fixed conditions made concrete: domains found, models built, hashes taken."""

    def __init__(self, job: Job) -> None:
        protocol = self.protocol = job.protocol
        self.job = job
        self.source = Domain.joined(protocol.sources, job.data_root)
        self.validation = Domain.find(protocol.validation, job.data_root)
        self.targets = {name: Domain.find(split, job.data_root) for name, split in protocol.targets.items()}
        self.classes = len(self.source.classes)
        self.accelerator = make_accelerator(protocol.precision)
        self.second: dict[str, float] = {}
        if job.evaluator is not None:
            if self.accelerator.num_processes > 1:
                raise UserError(f"--evaluator {job.evaluator} checks one process; leave it out, or start the run alone")
            self.second[f"{job.evaluator} {detectron.require()}"] = 0.0
        backbone = job.make_backbone()
        self.weights_hash = weight_hash(backbone)
        self.vfm = backbone.facts()
        decoder = build_decoder(protocol.decoder, backbone.embed_dim, self.classes, job.seed)
        self.decoder_hash = weight_hash(decoder)
        data_workers = loading.data_workers(job.runtime.data_workers, self.accelerator.num_processes)
        self.runtime = replace(job.runtime, data_workers=data_workers)
        self.data = TrainingSet(
            self.source.samples,
            self.source.reader,
            protocol.augmentation,
            seed=job.seed,
            length=protocol.iterations * protocol.batch,
            memory=MEMORY // max(data_workers, 1),
        )
        weighted = protocol.decoder.class_weights == "inverse-sqrt"
        weights = inverse_frequency_weights(self._source_pixels()) if weighted else None
        self.segmenter = Segmenter(backbone, decoder, weights)

    def _source_pixels(self) -> torch.Tensor:
        """Return how many pixels of each class all source labels hold, (C,)."""
        counts = np.zeros(256, np.int64)
        for index in range(len(self.data.frames)):
            _, label = self.data.frames[index]
            counts += np.bincount(label.ravel(), minlength=256)
        return torch.from_numpy(counts[: self.classes])

    def domains(self) -> dict[str, Domain]:
        """Return every domain by the name of its part in the protocol."""
        return {"source": self.source, "validation": self.validation, **self.targets}

    def notes(self) -> dict[str, tuple[str, ...]]:
        """Return what is to be said about users' files, by domain; nothing about those that this project renders."""
        if self.protocol.rendered is not None:
            return {}
        return {name: domain.notes for name, domain in self.domains().items() if domain.notes}

    def data_hash(self) -> str:
        """Return a hash of every sample's id and file sizes, over all domains of the protocol."""
        digest = hashlib.sha256()
        for name, domain in self.domains().items():
            digest.update(f"{name}:{domain.dataset}\n".encode())
            for sample in domain.samples:
                sizes = f"{sample.image.stat().st_size} {sample.label.stat().st_size}"
                digest.update(f"{sample.id} {sizes}\n".encode())
        return digest.hexdigest()

    def batches_hash(self) -> str:
        """Return a hash of the first batches' ids, pixels and labels: data, order and augmentation at work."""
        digest = hashlib.sha256()
        for position in range(min(HASHED_BATCHES * self.protocol.batch, len(self.data))):
            item = self.data[position]
            digest.update(str(item["id"]).encode())
            digest.update(item["image"].numpy().astype(np.uint8).tobytes())
            digest.update(item["label"].numpy().astype(np.uint8).tobytes())
        return digest.hexdigest()

    def confusions(self, domain: Domain, tick: Callable[[], None] = lambda: None, look: Look = unseen) -> np.ndarray:
        """Return one confusion matrix per image of a domain, (N, C, C); each process looks at a share of the images."""
        data = EvaluationSet(domain.samples, domain.reader, test_size=domain.test_size)
        spec, device = self.protocol.evaluation, self.accelerator.device
        # Consecutive images, so that the first of them, which are kept as examples, are the first process's.
        part, parts = self.accelerator.process_index, self.accelerator.num_processes
        own = slice(len(data) * part // parts, len(data) * (part + 1) // parts)
        found = torch.zeros(len(data), self.classes, self.classes, dtype=torch.int32, device=device)
        with closing(loading.samples(data, range(len(data))[own], self.runtime.data_workers or 0)) as items:
            matrices = evaluate(self.segmenter, items, self.classes, spec, device, tick, look)
        found[own] = torch.from_numpy(matrices).to(device)
        return np.asarray(self.accelerator.reduce(found, "sum").cpu())

    def confirmed(self, name: str, domain: Domain, tick: Callable[[], None], look: Look) -> np.ndarray:
        """Return :meth:`confusions` of the domain ``name``, confirmed by the second evaluator if one is asked for.

        Raises:
            DisagreementError: it finds another mIoU.
        """
        if not self.second:
            return self.confusions(domain, tick, look)
        other = detectron.SecondEvaluator(f"{self.protocol.name}/{name}", domain)
        matrices = self.confusions(domain, tick, each_of(look, other.see))
        difference = other.compare(matrices)
        self.second = {evaluator: max(known, difference) for evaluator, known in self.second.items()}
        return matrices


def execute(job: Job, notify: Notify = lambda kind, **facts: None) -> Record:
    """Train, score and record one run; resumes where an interrupted one stopped.

    Under torchrun every process calls it; the first alone writes.

    Args:
        job: what to run.
        notify: told ``("stage", text=)``, ``("note", text=)``, ``("step", step=, total=, losses=)`` and
            ``("image",)``.

    Raises:
        UserError: data, weights, settings or the folder are not as they must be, or memory does not suffice.
    """
    try:
        return _execute(job, notify)
    except (MemoryError, RuntimeError) as error:
        if not short_of_memory(error):
            raise
    raise UserError(
        "memory does not suffice; give fewer --workers, --accumulate or "
        "--checkpointing, or a machine with more, and run again to resume"
    )


def short_of_memory(error: BaseException) -> bool:
    """Return whether an error tells that no more memory is to be had; on the processor torch has no kind for it."""
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error) or "Cannot allocate memory" in str(error)


def _execute(job: Job, notify: Notify) -> Record:
    started = datetime.now(timezone.utc)
    notify("stage", text="loading")
    torch.set_num_threads(job.threads)
    experiment = Experiment(job)
    for name, lines in experiment.notes().items():
        notify("note", text=f"{name} ({experiment.domains()[name].dataset}): {'; '.join(lines)}")
    method: Method = job.make_method()
    trainer = Trainer(
        job.protocol, job.seed, experiment.segmenter, method, experiment.data, experiment.accelerator,
        job.make_perturbation(), experiment.runtime,
    )  # fmt: skip
    conditions = _conditions(experiment, method)
    facts = conditions | _facts(experiment, method) | {"started": started.isoformat(timespec="seconds")}
    record = None
    try:
        record = _trained(experiment, trainer, conditions, facts, notify)
    except checkpoint.UnfitError as error:
        notify("note", text=f"{error}; starting anew")
    if experiment.accelerator.is_main_process:
        job.checkpoint.unlink(missing_ok=True)
    experiment.accelerator.wait_for_everyone()
    return _execute(job, notify) if record is None else record


def _trained(
    experiment: Experiment, trainer: Trainer, conditions: dict[str, Any], facts: dict[str, Any], notify: Notify
) -> Record:
    """Train to the end or until it fails, write the record of either, and return it.

    Raises:
        UserError: too little room for checkpoints and record; a process that loads data is gone.
    """
    job, total = experiment.job, experiment.protocol.iterations
    writes = experiment.accelerator.is_main_process
    if writes:
        checkpoint.require_room(job.checkpoint, trainer.resumable.size())
    key = hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()
    last: dict[str, np.ndarray] = {}
    examples = Examples()
    notify("stage", text="training")
    follower = tracking.Follower(job, conditions, writes)
    if follower.hint:
        notify("note", text=f"to look at: {follower.hint}")
    tick = follower.steps(lambda step, losses: notify("step", step=step, total=total, losses=losses))
    try:
        score = follower.scores(lambda step: _scored(experiment, step, last, examples, notify))
        with loading.watched():
            progress = trainer.run(score, job.checkpoint, key, tick)
    except (FloatingPointError, detectron.DisagreementError) as error:
        record = _record(facts, trainer, state="failed", error=str(error))
        if writes:
            write(record, {}, {}, job.folder)
        return record
    finally:
        follower.end()
    record = _record(
        facts, trainer, state="finished", report=trainer.method.report(), second_evaluator=experiment.second,
        **_scores(last, progress),
    )  # fmt: skip
    if writes:
        ids = {name: [sample.id for sample in domain.samples] for name, domain in experiment.targets.items()}
        ids[SOURCE] = [sample.id for sample in experiment.validation.samples]
        files = {"examples": examples.packed(), **delta.files(trainer.method, experiment.segmenter, record)}
        record = record.model_copy(update={"moved": delta.moved(trainer.method, job.make_backbone())})
        write(record, last, ids, job.folder, files)
    return record


def _scored(
    experiment: Experiment, step: int, last: dict[str, np.ndarray], examples: Examples, notify: Notify
) -> dict[str, Any]:
    """Score the model after ``step`` iterations, at the end on held-out source images, too.

    Matrices are left in ``last``, a few predictions in ``examples``.

    Raises:
        DisagreementError: a second evaluator finds another mIoU.
    """
    notify("stage", text=f"scoring after {step}")
    ends = step == experiment.protocol.iterations
    domains = experiment.targets | ({SOURCE: experiment.validation} if ends else {})
    found = {
        name: experiment.confirmed(name, domain, lambda: notify("image"), examples.of(name))
        for name, domain in domains.items()
    }
    last.update(found)
    values = {name: float(miou(matrices.sum(0, dtype=np.int64))) for name, matrices in found.items()}
    source = values.pop(SOURCE, None)
    average = math.fsum(values.values()) / len(values)
    return {"iteration": step, "average": average, "targets": values, "source": source}


def _conditions(experiment: Experiment, method: Method) -> dict[str, Any]:
    """Return all that decides the run's result; a checkpoint made under others is never resumed."""
    job, protocol = experiment.job, experiment.protocol
    return {
        "protocol": protocol.name,
        "fingerprint": protocol.fingerprint(),
        "data_hash": experiment.data_hash(),
        "batches_hash": experiment.batches_hash(),
        "decoder_hash": experiment.decoder_hash,
        "backbone": job.backbone,
        "weights_hash": experiment.weights_hash,
        "vfm": experiment.vfm,
        "method": job.method_name,
        "settings": job.settings(method),
        "seed": job.seed,
    }


def _facts(experiment: Experiment, method: Method) -> dict[str, Any]:
    """Return what else a record says of a run before it trains: no condition of its result, or known from these."""
    job = experiment.job
    decoder = sum(parameter.numel() for parameter in experiment.segmenter.decoder.parameters())
    return {
        "label": job.label(method),
        "classes": experiment.source.classes,
        "data_notes": experiment.notes(),
        "protocol_fields": job.protocol.fields(),
        "origins": job.origins(method),
        "trainable": {"backbone": method.trainable(), "decoder": decoder},
        "versions": machine.versions(),
        "commit": machine.commit(),
        "machine": {
            **machine.describe(job.threads),
            "processes": experiment.accelerator.num_processes,
            **vars(experiment.runtime),
        },
    }


def _record(facts: dict[str, Any], trainer: Trainer, **rest: Any) -> Record:
    """Put a run's facts together; processor time is that of all processes, memory that of the largest."""
    progress, accelerator = trainer.progress, trainer.accelerator
    own = torch.tensor([progress.cpu_seconds, machine.peak_memory()], dtype=torch.float64, device=accelerator.device)
    cpu_seconds, peak = accelerator.gather(own[None]).unbind(1)
    done = {
        "losses": progress.losses,
        "evaluations": progress.scores,
        "seconds": progress.seconds,
        "cpu_seconds": cpu_seconds.sum().item(),
        "peak_memory_bytes": int(peak.max()),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    return Record.model_validate(facts | done | rest)


def _scores(last: dict[str, np.ndarray], progress: Progress) -> dict[str, Any]:
    """Return the last iterate's scores, and the best-on-target ones apart from them."""
    scores = {name: Score.of(matrices) for name, matrices in last.items()}
    return {
        "source": scores.pop(SOURCE),
        "targets": scores,
        "average": progress.scores[-1]["average"],
        "oracle": max(progress.scores, key=lambda row: row["average"]),
    }
