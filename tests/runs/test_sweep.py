"""What ``run`` checks before anything starts."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmark import protocol
from benchmark.common.errors import UserError
from benchmark.runs import request, sweep
from benchmark.runs.job import Job
from tests.plugin import install

Plan = Callable[..., list[Job]]


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a method that cannot serve SAM."""
    monkeypatch.syspath_prepend(install(tmp_path / "plugin"))


@pytest.fixture
def plan(tmp_path: Path, tiny_protocol: Callable[..., Path]) -> Plan:
    """Return a function that plans two seeds of some methods on SAM."""

    def planned(*methods: str, **given: dict[str, Any]) -> list[Job]:
        fixed = protocol.load(str(tiny_protocol()), None)
        return request.plan(
            fixed, "sam-b", methods, [0, 1], given, data_root=tmp_path / "none", folder=tmp_path / "runs"
        )

    return planned


def tried(due: list[Job], *, every: bool) -> tuple[list[str], str]:
    """Return the names of the jobs that can run, and what was said."""
    said = io.StringIO()
    kept = sweep._check(due, every, Console(file=said, width=500))
    return [f"{job.spec.method_name} {job.spec.seed}" for job in kept], said.getvalue()


def test_with_all_methods_unsupported_ones_are_skipped_with_a_note(plan: Plan, tmp_path: Path) -> None:
    kept, said = tried(plan("freeze", "picky"), every=True)
    assert kept == ["freeze 0", "freeze 1"]
    assert said.count("skipped: picky cannot serve backbone 'sam-b'") == 1
    assert [path.name for path in tmp_path.glob("runs/*/*/*")] == ["freeze"]


def test_an_unsupported_method_named_by_the_user_is_refused(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="picky cannot serve backbone 'sam-b'"):
        tried(plan("freeze", "picky"), every=False)
    assert not (tmp_path / "runs").exists()


def test_an_unsupported_hyperparameter_is_refused_also_with_all_methods(plan: Plan) -> None:
    with pytest.raises(UserError, match="lower share or add groups"):
        tried(plan("freeze", "random", random={"share": 0.99}), every=True)


def test_a_perturbation_after_the_last_out_index_is_refused(plan: Plan) -> None:
    with pytest.raises(UserError, match=r"perturbation: place=12 .*block 11\b"):
        tried(plan("freeze+perturbed", **{"freeze+perturbed": {"perturbation.place": 12}}), every=False)


def test_an_unsupported_method_is_skipped_whatever_its_hyperparameters(plan: Plan) -> None:
    kept, said = tried(plan("freeze", "picky", picky={"lr": 1e-3}), every=True)
    assert kept == ["freeze 0", "freeze 1"]
    assert "skipped: picky cannot serve" in said


def test_a_method_is_skipped_where_the_protocol_does_not_suit_its_phases(plan: Plan) -> None:
    """The tiny protocol has a decoder warm-up, which is what LP-FT would add."""
    kept, said = tried(plan("freeze", "lp-ft", **{"lp-ft": {"lr": 1e-3}}), every=True)
    assert kept == ["freeze 0", "freeze 1"]
    assert said.count("skipped: lp-ft: the protocol trains the decoder alone for 3 iterations") == 1
    with pytest.raises(UserError, match=r"lp-ft: .*use method full"):
        tried(plan("lp-ft"), every=False)


def test_a_method_that_reads_the_weights_is_checked_in_the_run(plan: Plan) -> None:
    kept, said = tried(plan("fishertune", fishertune={"estimator": "variational"}), every=False)
    assert len(kept) == 2
    assert not said
