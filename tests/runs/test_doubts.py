"""A finished run that has not learnt anything, and data that nothing can be learnt from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from benchmark.common.errors import UserError
from benchmark.runs.doubts import constant_loss, doubts
from benchmark.runs.experiment import Experiment
from benchmark.training.progress import Progress
from tests.conftest import draw
from tests.training.test_trainer import job_of


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 2.0, 0.0, 1.5])])
def test_no_constant_prediction_has_a_lower_loss(weights: torch.Tensor | None) -> None:
    labels = torch.tensor([0] * 50 + [1] * 30 + [3] * 20)
    pixels = torch.bincount(labels, minlength=4)
    logits = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    weight = None if weights is None else weights.double()
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(logits.expand(100, 4), labels, weight)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert constant_loss(pixels, weights) == pytest.approx(closure().item(), abs=1e-6)


def logged(*values: float) -> list[tuple[int, dict[str, float]]]:
    return [(10 * index, {"ce": value}) for index, value in enumerate(values, 1)]


def test_a_run_that_ends_above_a_constant_prediction_has_diverged() -> None:
    assert doubts(logged(3.0, 2.0, 1.5, 1.4), 2.5) == []
    (line,) = doubts(logged(3.0, 9.0, 9.0, 9.0), 2.5)
    assert "9" in line
    assert "2.5" in line


def test_without_the_classes_shares_the_first_loss_is_the_bound() -> None:
    assert doubts(logged(3.0, 2.9, 2.9, 2.9), None) == []
    assert doubts(logged(3.0, 4.0, 4.0, 4.0), None)
    assert doubts([(step, {"mask": 5.0, "dice": 1.0}) for step in (10, 20, 30, 40)], 2.5)


def test_a_very_short_run_or_one_with_a_single_class_is_not_judged() -> None:
    assert doubts(logged(0.1, 0.01, 0.001, 0.001), 0.0) == []
    assert doubts(logged(9.0, 9.0, 9.0), 2.5) == []


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_labels_that_are_void_everywhere_are_refused_before_training(
    split: str, tiny_protocol: Callable[..., Path], tmp_path: Path
) -> None:
    for name, sequence in (("train", "0016E5"), ("val", "0016E5"), ("test", "0001TP"), ("test", "Seq05VD")):
        draw(tmp_path / "data" / "camvid", name, sequence, 2, 0)
    void = sorted((tmp_path / "data" / "camvid" / f"{split}annot").glob("*.png"))
    for path in void if split != "test" else [path for path in void if "0001TP" in path.name]:
        Image.fromarray(np.full((48, 64), 11, np.uint8)).save(path)
    with pytest.raises(UserError, match=rf"no pixel of its 2 labels .*{split}annot"):
        Experiment(job_of(tiny_protocol(), tmp_path / "data", tmp_path, "freeze"))


@pytest.mark.parametrize("name", ["leak", "validation"])
def test_frames_that_are_trained_on_are_not_scored(
    name: str, tiny_protocol: Callable[..., Path], tmp_path: Path
) -> None:
    draw(tmp_path / "data" / "camvid", "train", "0016E5", 2, 0)
    draw(tmp_path / "data" / "camvid", "val", "0016E5", 2, 0)
    trained, held_out = ({"dataset": "camvid", "split": split} for split in ("train:0016E5", "val:0016E5"))
    validation, targets = (trained, {"other": held_out}) if name == "validation" else (held_out, {"leak": trained})
    made = tiny_protocol(source={"dataset": "camvid", "split": "train"}, validation=validation, targets=targets)
    with pytest.raises(UserError, match=rf"^{name} \(camvid\): 2 of its 2 frames are trained on, first .*0016E5"):
        Experiment(job_of(made, tmp_path / "data", tmp_path, "freeze"))


def test_a_part_of_a_run_begins_only_where_the_conditions_change() -> None:
    progress = Progress()
    progress.begin({"commit": "a"})
    progress.done({}, 10)
    progress.begin({"commit": "a"})
    progress.done({}, 10)
    progress.begin({"commit": "b"})
    assert progress.segments == [{"first": 0, "commit": "a"}, {"first": 2, "commit": "b"}]
