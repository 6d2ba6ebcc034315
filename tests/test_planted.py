"""A check finds each planted bug in tiny runs; the findings at full size are a committed file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from benchmark.check import rounding
from benchmark.check.regression import Reference, compare
from benchmark.protocol import load
from benchmark.records import read
from benchmark.runs.job import Job
from benchmark.runs.one_run import train_and_record
from benchmark.runs.request import plan
from tests.conftest import TINY
from tests.planted import BUGS, RESULTS, found
from tests.runs.made import with_runtime

pytestmark = pytest.mark.slow

PLANTED = RESULTS / "streets@check" / "planted.yaml"
NAMED = {  # text that the line of a change must contain
    "wrong label map": "batches_hash",
    "frozen weights that move": "of the backbone's pre-trained values",
    "frozen weights that decay": "of the backbone's pre-trained values",
    "halved learning rate": "ce at iteration 10",
    "shuffled targets": "ce at iteration 10",
    "mis resized labels": "batches_hash",
    "mis resized labels when scoring": "labels of dusk",
}


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> list[Job]:
    """Freeze and Full on two seeds of the tiny protocol."""
    folder = tmp_path_factory.mktemp("planted")
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    fixed = load(str(path))
    return plan(fixed, fixed.backbone, ["freeze", "full"], [0, 1], {}, data_root=tiny_data, folder=folder / "reference")


@pytest.fixture(scope="module")
def reference(jobs: list[Job]) -> Reference:
    other = [with_runtime(replace(job, folder=job.folder / "rounding"), threads=2) for job in jobs]
    for job in (*jobs, *other):
        train_and_record(job)
    runs, repeated = ({(job.spec.method, job.spec.seed): read(job.record) for job in each} for each in (jobs, other))
    rounding.write(jobs[0].folder, runs, repeated)
    return Reference(runs, rounding.read(jobs[0].folder, runs, "again"))


def test_no_bug_is_found_without_a_planted_one(jobs: list[Job], reference: Reference, tmp_path: Path) -> None:
    again = replace(jobs[1], folder=tmp_path)
    train_and_record(again)
    comparison = compare(reference, reference.runs, {(again.spec.method, again.spec.seed): read(again.record)})
    assert not comparison.changes
    assert not any(row.regressed for row in comparison.rows)


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str, jobs: list[Job], reference: Reference, tmp_path: Path) -> None:
    comparison = found(bug, reference, [replace(job, folder=tmp_path) for job in jobs if job.spec.seed == 0])
    hit = {line.split(",")[0] for line in comparison.changes if NAMED[bug] in line}
    # Full trains all weights but the last norm, which the decoder does not read: decay changes that one as well.
    assert hit == ({"Freeze"} if bug == "frozen weights that move" else {"Freeze", "Full"}), comparison.changes


def test_the_committed_findings_cover_every_bug() -> None:
    bugs = yaml.safe_load(PLANTED.read_text(encoding="utf-8"))["bugs"]
    assert set(bugs) == set(BUGS)
    assert all(row["found by mIoU"] or row["found by what runs compute"] for row in bugs.values())
