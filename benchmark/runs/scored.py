"""Evaluate the finished runs of one protocol on the targets of another, without training them again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from benchmark.artifacts.predictions import Examples
from benchmark.artifacts.restore import require_weights, restore
from benchmark.common import machine
from benchmark.common.errors import UserError
from benchmark.data.contents import contents_hash
from benchmark.records import SOURCE, Record, Score, read, write
from benchmark.runs.events import Notify, Training, ignore
from benchmark.runs.experiment import Experiment
from benchmark.runs.job import Job
from benchmark.runs.one_run import evaluate_targets
from benchmark.runs.pending import REPEAT, require_conditions

OWN = {"name", "trained", "targets", "validation", "evaluation"}
"""Fields in which a protocol may differ from the one that trains for it: none of them changes a trained model."""
FILES = {"confusion", "examples", "delta", "tuned", "decoder", "digests", "checksum"}
"""Fields of a record that belong to its own files."""


def trained_record(job: Job) -> Record:
    """Return the record of the run whose model ``job`` evaluates.

    Raises:
        UserError: the run has not finished, has no weight files, or had other hyperparameters, weights or conditions
            of training.
    """
    ours = job.spec.protocol
    path = job.folder / str(ours.trained) / job.record.relative_to(job.folder / ours.name)
    if not path.exists():
        raise UserError(
            f"{path}: missing; protocol {ours.name} evaluates finished runs of {ours.trained}: run that first"
        )
    record = read(path)
    require_weights(record)
    require_conditions(job, record)
    stated = ours.fields()
    for field in sorted(stated.keys() | record.protocol_fields.keys()):
        if field not in OWN and stated.get(field) != record.protocol_fields.get(field):
            raise UserError(f"{path}: trained with another {field} than protocol {ours.name} states; {REPEAT}")
    return record


def score_and_record(job: Job, notify: Notify = ignore) -> Record:
    """Evaluate the model of a finished run on the protocol's targets and record the scores.

    Everything about the training in the new record is copied from the run's record; it has no weight files of its own.

    Raises:
        UserError: see :func:`trained_record`; or files are missing.
    """
    record = trained_record(job)
    torch.set_num_threads(job.runtime.threads)
    experiment = Experiment(job)
    experiment.segmenter = restore(record, job.spec.weights).to(experiment.accelerator.device)
    notify(Training("evaluating"))
    last: dict[str, np.ndarray] = {}
    examples = Examples()
    found = evaluate_targets(experiment, job.spec.protocol.iterations, last, examples, notify)
    ids = {name: [sample.id for sample in domain.samples] for name, domain in experiment.targets.items()}
    ids[SOURCE] = [sample.id for sample in experiment.validation.samples]
    made = _record(record, experiment, last, found)
    if experiment.accelerator.is_main_process:
        write(made, last, ids, job.folder, {"examples": examples.packed()})
    experiment.accelerator.wait_for_everyone()
    return made


def _record(before: Record, experiment: Experiment, last: Mapping[str, np.ndarray], found: dict[str, Any]) -> Record:
    """Return the record of the run with the scores and conditions of this evaluation."""
    spec = experiment.job.spec
    scores = {name: Score.of(matrices) for name, matrices in last.items()}
    kept = {name: getattr(before, name) for name in Record.model_fields if name not in FILES}
    return Record.model_validate(
        kept
        | {
            "protocol": spec.protocol.name,
            "protocol_fields": spec.protocol.fields(),
            "fingerprint": spec.protocol.fingerprint(),
            "data_hash": experiment.data_hash(),
            "contents_hash": contents_hash(experiment.domains()),
            "data_notes": experiment.notes(),
            "scored_in": experiment.scored_in(),
            "source": scores.pop(SOURCE),
            "targets": scores,
            "average": found["average"],
            "evaluations": (found,),
            "oracle": found,
            "trained": before.checksum,
            "second_evaluator": experiment.second,
            "versions": machine.versions(),
            "commit": machine.commit(),
        }
    )
