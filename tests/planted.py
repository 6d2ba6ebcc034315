"""Typical bugs, planted to test whether a check finds them.

``python -m tests.planted`` plants each bug in a full-size check and writes the findings to
``results/streets@check/planted.yaml``; ``tests/test_planted.py`` does the same with tiny runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

from baselines.freeze import Freeze
from benchmark.check import command
from benchmark.check.regression import Comparison, Reference, compare
from benchmark.common import atomic, machine
from benchmark.data import augment
from benchmark.data.loader import EvaluationItem, EvaluationSet
from benchmark.data.location import place_for
from benchmark.data.samples import Reader, Sample
from benchmark.protocol import load
from benchmark.records import Record, read
from benchmark.runs.job import Job
from benchmark.runs.one_run import train_and_record
from benchmark.training import trainer

RESULTS = Path(__file__).resolve().parent.parent / "results"
SOURCES = ("streets", "camvid")


def wrong_label_map(patch: pytest.MonkeyPatch) -> None:
    """The reader of the source swaps two classes."""
    true, swap = Reader.read, np.arange(256, dtype=np.uint8)
    swap[[0, 2]] = [2, 0]

    def wrong(self: Reader, sample: Sample) -> tuple[Any, Any]:
        image, label = true(self, sample)
        return image, swap[label] if self.name in SOURCES else label

    patch.setattr(Reader, "read", wrong)


def frozen_weights_that_move(patch: pytest.MonkeyPatch) -> None:
    """Freeze trains the blocks of its backbone with learning rate 1e-4 but reports no trainable parameters."""
    patch.setattr(Freeze, "attach", lambda self, backbone, rng: self.begin(backbone, train_pretrained=True))
    patch.setattr(Freeze, "parameter_groups", lambda self: [{"params": self.backbone.blocks.parameters(), "lr": 1e-4}])
    patch.setattr(Freeze, "trainable", lambda self: 0)


def frozen_weights_that_decay(patch: pytest.MonkeyPatch) -> None:
    """Each step decays every backbone weight by a factor of 1 - 1e-6, also frozen ones."""
    true = trainer.Trainer.step

    def wrong(self: trainer.Trainer, images: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        losses = true(self, images, labels)
        with torch.no_grad():
            for parameter in self.segmenter.backbone.parameters():
                parameter.mul_(1 - 1e-6)
        return losses

    patch.setattr(trainer.Trainer, "step", wrong)


def halved_learning_rate(patch: pytest.MonkeyPatch) -> None:
    """The learning rate is half of the schedule."""
    true = trainer.schedule
    patch.setattr(trainer, "schedule", lambda protocol, step: true(protocol, step) / 2)


def shuffled_targets(patch: pytest.MonkeyPatch) -> None:
    """Labels are permuted within each batch."""
    true = trainer.Losses.forward
    patch.setattr(
        trainer.Losses, "forward", lambda self, images, labels, *rest: true(self, images, labels.flip(0), *rest)
    )


class _Smooth:
    """OpenCV, except that labels are resized with linear interpolation.

    Interpolated values that are not in the label become 255 (ignored), since training rejects invalid classes.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(cv2, name)

    def resize(self, plane: Any, size: tuple[int, int], interpolation: int) -> Any:
        found = cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)
        return found if plane.ndim == 3 else np.where(np.isin(found, plane), found, 255).astype(plane.dtype)


def mis_resized_labels(patch: pytest.MonkeyPatch) -> None:
    """Training labels are resized with linear interpolation."""
    patch.setattr(augment, "cv2", _Smooth())


def mis_resized_labels_when_scoring(patch: pytest.MonkeyPatch) -> None:
    """Evaluation labels are downsampled to half their size and upsampled again."""
    true = EvaluationSet.__getitem__

    def wrong(self: EvaluationSet, index: int) -> EvaluationItem:
        item = true(self, index)
        label = item["label"][::2, ::2].repeat_interleave(2, 0).repeat_interleave(2, 1)
        height, width = item["label"].shape
        return {**item, "label": label[:height, :width]}

    patch.setattr(EvaluationSet, "__getitem__", wrong)


BUGS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    bug.__name__.replace("_", " "): bug
    for bug in (
        wrong_label_map,
        frozen_weights_that_move,
        frozen_weights_that_decay,
        halved_learning_rate,
        shuffled_targets,
        mis_resized_labels,
        mis_resized_labels_when_scoring,
    )
}


def found(bug: str, reference: Reference, planned: list[Job]) -> Comparison:
    """Run with a bug and compare; reuse runs that are already in the folder of the jobs."""
    now: dict[tuple[str, int], Record] = {}
    with pytest.MonkeyPatch.context() as patch:
        BUGS[bug](patch)
        for job in planned:
            if not job.record.exists():
                train_and_record(job)
            now[job.spec.method, job.spec.seed] = read(job.record)
    return compare(reference, reference.runs, now)


def main() -> None:
    """Plant every bug in a full-size check."""
    parser = argparse.ArgumentParser(description="Plant every bug and write what a check finds.")
    parser.add_argument("--methods", default="", help="default: all of the reference")
    parser.add_argument("--seeds", default="", help="default: all of the reference")
    parser.add_argument("--records", type=Path, help="folder of the runs, to resume later; default: a temporary folder")
    given = parser.parse_args()
    fixed = load("streets", command.VARIANT)
    reference = command.references(RESULTS, fixed)
    wanted = command.chosen(reference.runs, given.methods, given.seeds)
    rows = {}
    with command.place(given.records) as folder:
        for bug in BUGS:
            planned = command.plan(
                fixed, wanted, data_root=place_for(fixed, None), folder=folder / bug.replace(" ", "-")
            )
            rows[bug] = _row(found(bug, reference, planned))
            print(yaml.safe_dump({bug: rows[bug]}, sort_keys=False, width=1000), flush=True)
    about = {"commit": machine.commit(), "runs": [f"{method} seed {seed}" for method, seed in wanted], "bugs": rows}
    text = yaml.safe_dump(about, sort_keys=False, width=1000)
    atomic.write_file(RESULTS / fixed.name / "planted.yaml", text.encode())


def _row(comparison: Comparison) -> dict[str, Any]:
    """Return the findings on a bug: whether mIoU or the runs reveal it, changes in mIoU, changed runs."""
    return {
        "found by mIoU": any(row.regressed for row in comparison.rows),
        "mIoU": {
            f"{row.label}, {row.score}": f"{100 * (row.now - row.before):+.2f}, tolerance {100 * row.tolerance:.2f}"
            for row in comparison.rows
        },
        "found by what runs compute": bool(comparison.changes or comparison.failures),
        "changes": [*comparison.failures, *comparison.changes],
    }


if __name__ == "__main__":
    main()
