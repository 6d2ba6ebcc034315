"""Options of a protocol that change training for every method: rare-class sampling and feature perturbation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.common.errors import UserError
from benchmark.records import Record
from benchmark.runs.one_run import train_and_record
from benchmark.tables.notes import training
from tests.training.test_trainer import job_of

pytestmark = pytest.mark.slow


def results(record: Record) -> tuple[Any, ...]:
    return record.losses, record.source, record.targets


def test_a_protocol_perturbs_every_method_as_the_suffix_perturbs_one(
    tiny_data: Path, tiny_protocol: Callable[..., Path], tmp_path: Path
) -> None:
    def run(method: str, folder: str, **changes: Any) -> Record:
        return train_and_record(job_of(tiny_protocol(**changes), tiny_data, tmp_path / folder, method))

    plain, suffixed = run("bitfit", "plain"), run("bitfit+perturbed", "plain")
    alike = run("bitfit", "alike", perturbation={})
    assert results(alike) == results(suffixed) != results(plain)
    assert alike.settings == suffixed.settings
    assert (alike.method, alike.label) == ("bitfit", plain.label)
    assert alike.fingerprint != suffixed.fingerprint == plain.fingerprint
    assert "probability 0.5" in training(alike.protocol_fields)[0]
    assert training(plain.protocol_fields) == []


@pytest.mark.parametrize("method", ["lora+perturbed", "fishertune+perturbed"])
def test_a_method_cannot_perturb_where_the_protocol_does(
    tiny_data: Path, tiny_protocol: Callable[..., Path], tmp_path: Path, method: str
) -> None:
    spec = job_of(tiny_protocol(perturbation={"place": 0}), tiny_data, tmp_path, method).spec
    with pytest.raises(UserError, match=r"tiny perturbs the features of every method alike; leave \+perturbed"):
        spec.make_perturbation()
    plain = job_of(tiny_protocol(perturbation={"place": 0}), tiny_data, tmp_path, method.partition("+")[0]).spec
    made = plain.make_perturbation()
    assert made is not None
    assert made.settings.place == 0


def test_rare_classes_are_noted() -> None:
    assert training({"rare_classes": {"temperature": 0.1}}) == [
        "Training images are drawn by class, rare ones more often (T = 0.1)."
    ]
