"""Cross-check with detectron2: the error if it is missing and, if it is installed, that the results agree."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.data.domains import Domain
from benchmark.evaluation import detectron
from benchmark.evaluation.evaluate import confusion
from benchmark.protocol import Split
from benchmark.records import read
from benchmark.runs.one_run import train_and_record
from tests.cli.test_cli import call, refused, tiny_run
from tests.data.trees import TREES
from tests.runs.made import with_runtime
from tests.training.test_trainer import job_of

pytestmark = pytest.mark.slow

PRESENT = importlib.util.find_spec("detectron2") is not None
present = pytest.mark.skipif(not PRESENT, reason="needs detectron2, which users build from its repository")


@pytest.mark.skipif(PRESENT, reason="detectron2 is installed")
def test_without_detectron2_nothing_is_run(tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]) -> None:
    words = tiny_run(tiny_protocol(), tiny_data, tmp_path / "runs", "--methods", "freeze")
    line = refused(call(*words, "--evaluator", "detectron2"))
    assert line.startswith("error: --evaluator detectron2: ")
    assert "(No module named 'detectron2')" in line
    assert line.endswith(detectron.GET)
    assert not (tmp_path / "runs").exists()


def test_an_unknown_evaluator_is_an_error() -> None:
    assert "'detectron3' is not" in refused(call("run", "--all", "--evaluator", "detectron3"))


@present
def test_the_record_of_a_confirmed_run_names_the_second_evaluator(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    job = with_runtime(job_of(tiny_protocol(iterations=4), tiny_data, tmp_path, "freeze"), evaluator="detectron2")
    train_and_record(job)
    ((name, difference),) = read(job.record).second_evaluator.items()
    assert name == f"detectron2 {detectron.require()}"
    assert difference < 1e-12


@present
def test_a_run_with_another_miou_by_detectron2_fails(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = with_runtime(job_of(tiny_protocol(iterations=4), tiny_data, tmp_path, "freeze"), evaluator="detectron2")
    monkeypatch.setattr("benchmark.evaluation.evaluate.confusion", lambda *given: confusion(*given)[::-1])
    record = train_and_record(job)
    assert record.state == "failed"
    assert "tiny/dusk: mIoU is 0." in str(record.error)
    assert "detectron2's SemSegEvaluator 0." in str(record.error)


@present
@pytest.mark.parametrize("halve", [False, True])
@pytest.mark.parametrize("guesses", [[0, 1, 2], [3], list(range(19))])
def test_a_registered_domain_is_read_and_evaluated_as_ours(tmp_path: Path, halve: bool, guesses: list[int]) -> None:
    from detectron2.data import DatasetCatalog, MetadataCatalog

    tree = TREES["mapillary"](tmp_path / "mapillary")
    domain = Domain.find(Split(dataset="mapillary", split="val", halve=halve), tmp_path)
    other = detectron.SecondEvaluator("vistas", domain)
    rows, facts = DatasetCatalog.get("vistas"), MetadataCatalog.get("vistas")
    assert [row["image_id"] for row in rows] == sorted(tree.labels)
    assert tuple(facts.stuff_classes) == domain.classes
    each, rng = [], np.random.default_rng(0)
    for sample, row in zip(domain.samples, rows, strict=True):
        label = facts.sem_seg_loading_fn(row["sem_seg_file_name"])
        whole = tree.labels[sample.id]
        np.testing.assert_array_equal(label, whole[1::2, 1::2][: label.shape[0], : label.shape[1]] if halve else whole)
        guess = torch.from_numpy(rng.choice(guesses, label.shape))
        known = torch.from_numpy(label)
        other.see({"image": known, "label": known, "id": sample.id}, torch.eye(19)[guess].permute(2, 0, 1))
        each.append(confusion(guess, known, 19))
    assert other.compare(np.stack(each)) < 1e-12
    each[0] = each[0] * 2
    with pytest.raises(detectron.DisagreementError, match="vistas: mIoU is"):
        other.compare(np.stack(each))
