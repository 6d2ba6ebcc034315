"""One run, from its job to its record."""

from __future__ import annotations

import hashlib
import json
import math
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
from benchmark.data.contents import contents_hash
from benchmark.evaluation import detectron
from benchmark.method import Method
from benchmark.records import SOURCE, Record, Score, write
from benchmark.runs import tracking
from benchmark.runs.doubts import doubts
from benchmark.runs.events import Evaluating, ImageEvaluated, Loading, Note, Notify, Step, Training, ignore
from benchmark.runs.experiment import Experiment
from benchmark.runs.job import Job
from benchmark.training import checkpoint
from benchmark.training.progress import Progress
from benchmark.training.reached import unreached
from benchmark.training.schedule import gradient_evaluations
from benchmark.training.trainer import Trainer
from benchmark.training.warmup import SharedWarmUp


def train_and_record(job: Job, notify: Notify = ignore) -> Record:
    """Train, evaluate and record one run; resume it if it was interrupted.

    Under torchrun every rank calls this; only the first writes.

    Args:
        job: the run.
        notify: receives the run's events.

    Raises:
        UserError: data, weights, hyperparameters or the folder are invalid, or memory does not suffice.
    """
    try:
        return _train_and_record(job, notify)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
    raise UserError(
        "out of memory; use fewer --workers, more --accumulate, --checkpointing or a machine with more memory, and run "
        "again to resume"
    )


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out; on the CPU torch has no exception of its own for it."""
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error) or "Cannot allocate memory" in str(error)


def _train_and_record(job: Job, notify: Notify) -> Record:
    started = datetime.now(timezone.utc)
    notify(Loading())
    torch.set_num_threads(job.runtime.threads)
    experiment = Experiment(job)
    for name, lines in experiment.notes().items():
        notify(Note(f"{name} ({experiment.domains()[name].dataset}): {'; '.join(lines)}"))
    spec = job.spec
    method = spec.make_method()
    trainer = Trainer(
        spec.protocol, spec.seed, experiment.segmenter, method, experiment.data, experiment.accelerator,
        spec.make_perturbation(), experiment.runtime,
    )  # fmt: skip
    conditions = _conditions(experiment, method)
    facts = conditions | _facts(experiment, method) | {"started": started.isoformat(timespec="seconds")}
    record = None
    try:
        record = _train(experiment, trainer, conditions, facts, notify)
    except checkpoint.UnfitError as error:
        notify(Note(f"{error}; starting from scratch"))
    if experiment.accelerator.is_main_process:
        job.checkpoint.unlink(missing_ok=True)
    experiment.accelerator.wait_for_everyone()
    return _train_and_record(job, notify) if record is None else record


def _train(
    experiment: Experiment, trainer: Trainer, conditions: dict[str, Any], facts: dict[str, Any], notify: Notify
) -> Record:
    """Train to the end or until the run fails; write the record of either, and return it.

    Raises:
        UserError: not enough disk space for checkpoints and record; a data-loader worker has died.
    """
    job, total = experiment.job, len(trainer.timeline)
    writes = experiment.accelerator.is_main_process
    if writes:
        checkpoint.require_room(job.checkpoint, trainer.state.size())
    key = hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()
    last: dict[str, np.ndarray] = {}
    examples = Examples()
    notify(Training())
    tracker = tracking.RunTracker(job, conditions, writes)
    if tracker.hint:
        notify(Note(f"to view the logs: {tracker.hint}"))
    # A tracker logs every loss of a run, so the run trains its own.
    shared = SharedWarmUp(job.warm_ups if job.runtime.tracker is None else None, conditions, job.spec.title, trainer)
    shared.resume()

    def stepped(progress: Progress, losses: dict[str, float]) -> None:
        shared.store(progress)
        notify(Step(progress.place, total, losses))

    tick = tracker.logging_steps(stepped)
    try:
        evaluate = tracker.logging_scores(lambda step: evaluate_targets(experiment, step, last, examples, notify))
        with loading.watched():
            here = {name: facts[name] for name in ("commit", "versions", "machine")}
            progress = trainer.run(evaluate, job.checkpoint, key, tick, held_out=experiment.held_out, here=here)
    except (FloatingPointError, detectron.DisagreementError) as error:
        record = _record(facts, trainer, state="failed", error=str(error))
        if writes:
            write(record, {}, {}, job.folder)
        return record
    finally:
        tracker.close()
    record = _record(
        facts, trainer, state="finished", report=trainer.method.report(), second_evaluator=experiment.second,
        warnings=doubts(trainer.progress.losses, experiment.constant_loss),
        **_scores(last, progress),
    )  # fmt: skip
    for warning in record.warnings:
        notify(Note(f"warning: {warning}"))
    if writes:
        ids = {name: [sample.id for sample in domain.samples] for name, domain in experiment.targets.items()}
        ids[SOURCE] = [sample.id for sample in experiment.validation.samples]
        files = {"examples": examples.packed(), **delta.files(trainer.method, experiment.segmenter, record)}
        record = record.model_copy(update={"moved": delta.moved(trainer.method, job.spec.read_pretrained())})
        write(record, last, ids, job.folder, files)
    return record


def evaluate_targets(
    experiment: Experiment, step: int, last: dict[str, np.ndarray], examples: Examples, notify: Notify
) -> dict[str, Any]:
    """Evaluate the model after ``step`` iterations on all targets; at the end also on held-out source images.

    Confusion matrices are left in ``last``, a few predictions in ``examples``.

    Raises:
        DisagreementError: a second evaluator computes another mIoU.
    """
    notify(Evaluating(step))
    ends = step == experiment.protocol.iterations
    domains = experiment.targets | ({SOURCE: experiment.validation} if ends else {})
    found = {
        name: experiment.confirmed(name, domain, lambda: notify(ImageEvaluated()), examples.of(name))
        for name, domain in domains.items()
    }
    last.update(found)
    values = {name: float(miou(matrices.sum(0, dtype=np.int64))) for name, matrices in found.items()}
    source = values.pop(SOURCE, None)
    average = math.fsum(values.values()) / len(values)
    return {"iteration": step, "average": average, "targets": values, "source": source}


def _conditions(experiment: Experiment, method: Method) -> dict[str, Any]:
    """Return everything that decides the run's result; a checkpoint of other conditions is never resumed."""
    spec, protocol = experiment.job.spec, experiment.protocol
    return {
        "protocol": protocol.name,
        "fingerprint": protocol.fingerprint(),
        "data_hash": experiment.data_hash(),
        "batches_hash": experiment.batches_hash(),
        "decoder_hash": experiment.decoder_hash,
        "backbone": spec.backbone,
        "weights_hash": experiment.weights_hash,
        "vfm": experiment.vfm,
        "method": spec.method_name,
        "settings": spec.settings(method),
        "seed": spec.seed,
    }


def _facts(experiment: Experiment, method: Method) -> dict[str, Any]:
    """Return what else a record says about a run before it trains."""
    spec, runtime, precision = experiment.job.spec, experiment.runtime, str(experiment.accelerator.mixed_precision)
    return {
        "label": spec.label(method),
        "classes": experiment.source.classes,
        "scored_in": experiment.scored_in(),
        "data_notes": experiment.notes(),
        # Only the rank that writes the record needs it, and it may read every file.
        "contents_hash": contents_hash(experiment.domains()) if experiment.accelerator.is_main_process else "",
        "protocol_fields": spec.protocol.fields(),
        "origins": spec.origins(method),
        "gradient_evaluations": gradient_evaluations(method, spec.protocol),
        "versions": machine.versions(),
        "commit": machine.commit(),
        "machine": {
            **machine.describe(runtime.threads),
            "processes": experiment.accelerator.num_processes,
            "accumulate": runtime.accumulate,
            "checkpointing": runtime.checkpointing,
            "compile": runtime.compile,
            "data_workers": runtime.data_workers,
            "precision": {"no": "float32"}.get(precision, precision),
        },
    }


def _record(facts: dict[str, Any], trainer: Trainer, **rest: Any) -> Record:
    """Build a run's record; CPU time is the sum over ranks, memory the largest rank's."""
    progress, accelerator = trainer.progress, trainer.accelerator
    own = torch.tensor([progress.cpu_seconds, machine.peak_memory()], dtype=torch.float64, device=accelerator.device)
    cpu_seconds, peak = accelerator.gather(own[None]).unbind(1)
    done = {
        "trainable": _trainable(trainer),
        "losses": progress.losses,
        "evaluations": progress.scores,
        "warm_up": progress.warm_up,
        "segments": progress.segments if len(progress.segments) > 1 else [],
        "seconds": progress.seconds,
        "cpu_seconds": cpu_seconds.sum().item(),
        "peak_memory_bytes": int(peak.max()),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    return Record.model_validate(facts | done | rest)


def _trainable(trainer: Trainer) -> dict[str, int]:
    """Return the number of trainable values of method and decoder; those of the method apart that get no gradient."""
    whole = trainer.method.trainable()
    # A method may count fewer values than its parameters have.
    lost = min(unreached(trainer.method, trainer.progress.unreached or {}), whole)
    decoder = sum(parameter.numel() for parameter in trainer.segmenter.decoder.parameters())
    return {"backbone": whole - lost, "decoder": decoder, "unreached": lost}


def _scores(last: dict[str, np.ndarray], progress: Progress) -> dict[str, Any]:
    """Return the final model's scores and, apart from them, the evaluation that was best on the targets."""
    scores = {name: Score.of(matrices) for name, matrices in last.items()}
    return {
        "source": scores.pop(SOURCE),
        "targets": scores,
        "average": progress.scores[-1]["average"],
        "oracle": max(progress.scores, key=lambda row: row["average"]),
    }
