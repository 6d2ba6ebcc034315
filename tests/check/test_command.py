"""The check passes on chance differences, fails on others, and reports the drop that it can detect."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from benchmark.check import command, rounding, worktree
from benchmark.check.regression import FACTOR, FALSE_ALARMS, SCORES, Comparison, Reference, compare, value
from benchmark.check.rounding import Moved, Runs
from benchmark.common.errors import UserError
from benchmark.protocol import FOLDER, load
from benchmark.records import Record, confusions, read, read_all, write
from benchmark.runs.job import Job
from benchmark.runs.one_run import train_and_record
from benchmark.runs.spec import RunSpec
from tests.cli.test_cli import ROOT, call, refused
from tests.records.made import FIELDS, failed, stored

pytestmark = pytest.mark.slow

METHODS, SEEDS = ("freeze", "lora"), (0, 1, 2)
ROUNDED = 1e-5
RESULTS = ROOT / "results"


def made(root: Path, loss: float = 0.0, accuracy: float = 0.8, **changes: Any) -> dict[tuple[str, int], Record]:
    """Return runs of two methods and three seeds; each seed adds 0.01 to the accuracy, ``loss`` is added to losses."""
    runs = {}
    for method in METHODS:
        for seed in SEEDS:
            facts: dict[str, Any] = {"losses": [(10, {"ce": 1.5 + loss}), (20, {"ce": 1.25 + 3 * loss})], "moved": 0}
            runs[method, seed] = stored(root, method, seed, accuracy + 0.01 * seed, **facts | changes)
    return runs


def differences(folder: Path, runs: Runs, repeated: Runs) -> Moved:
    rounding.write(folder, runs, repeated)
    return rounding.read(folder, runs, "again")


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    """Runs whose rounding is 1e-5 at iteration 10, 3e-5 at iteration 20, and zero in all scores."""
    runs = made(tmp_path / "reference")
    return Reference(runs, differences(tmp_path / "reference", runs, made(tmp_path / "rounding", ROUNDED)))


def again(reference: Reference, root: Path, **changes: Any) -> Comparison:
    return compare(reference, reference.runs, made(root, **changes))


def test_identical_runs_pass(reference: Reference, tmp_path: Path) -> None:
    found = again(reference, tmp_path / "now")
    assert not (found.failures + found.changes + found.notes)
    assert [(row.label, row.score) for row in found.rows] == [(m.capitalize(), s) for m in METHODS for s in SCORES]
    assert all(row.now == row.before and not row.regressed for row in found.rows)


def test_the_tolerance_is_a_pooled_t_test_and_the_detectable_drop_has_power_80(
    reference: Reference, tmp_path: Path
) -> None:
    for row in again(reference, tmp_path / "now").rows:
        seeds = [[value(reference.runs[method, seed], row.score) for seed in SEEDS] for method in METHODS]
        error = np.sqrt(np.mean(np.var(seeds, axis=1, ddof=1)) * 2 / 3)
        assert row.tolerance == pytest.approx(stats.t.ppf(1 - FALSE_ALARMS / 4, 4) * error, rel=1e-9)
        power = stats.nct.sf(row.tolerance / error, 4, row.detectable / error)
        assert power == pytest.approx(0.8, abs=1e-9)


def test_a_drop_beyond_the_tolerance_is_a_regression_of_that_row_only(reference: Reference, tmp_path: Path) -> None:
    now = dict(reference.runs) | {key: run for key, run in made(tmp_path, accuracy=0.7).items() if key[0] == "lora"}
    found = compare(reference, reference.runs, now)
    assert [(row.label, row.score) for row in found.rows if row.regressed] == [("Lora", s) for s in SCORES]
    assert not any(row.regressed for row in compare(reference, now, reference.runs).rows), "a gain is not a regression"


@pytest.mark.parametrize(("times", "lines"), [(0.9, 0), (1.1, 6)])
def test_losses_may_differ_by_ten_times_the_rounding(
    reference: Reference, tmp_path: Path, times: float, lines: int
) -> None:
    found = again(reference, tmp_path / "now", loss=times * FACTOR * ROUNDED)
    assert len(found.changes) == lines
    assert all("ce at iteration" in line for line in found.changes)
    assert not any(row.regressed for row in found.rows)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"settings": {"lr": 5e-4}}, "setting lr is 0.0005, was 0.001"),
        ({"moved": 1234}, "1,234 of the backbone's pre-trained values"),
        ({"moved": None}, "an unknown number of the backbone's pre-trained values"),
        ({"trainable": {"backbone": 1, "decoder": 350000}}, "trainable differs"),
        ({"weights_hash": "0" * 64}, "weights_hash differs"),
        ({"batches_hash": "0" * 64}, "batches_hash differs"),
        ({"decoder_hash": "0" * 64}, "decoder_hash differs"),
        ({"losses": [(10, {"ce": 1.5})]}, "ce at iteration 20 is absent"),
        ({"losses": [(10, {"ce": 1.5, "aux": 0.1}), (20, {"ce": 1.25})]}, "aux at iteration 10 is 0.1"),
        ({"losses": [(10, {"ce": None}), (20, {"ce": 1.25})]}, "ce at iteration 10 is nan"),
    ],
)
def test_other_conditions_and_other_losses_are_named(
    reference: Reference, tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    found = again(reference, tmp_path / "now", **changes)
    assert len(found.changes) == len(METHODS) * len(SEEDS)
    assert all(line in each for each in found.changes)


def test_parameters_without_gradient_may_be_told_apart(reference: Reference, tmp_path: Path) -> None:
    assert not again(
        reference, tmp_path / "now", trainable={"backbone": 294000, "decoder": 350000, "unreached": 912}
    ).changes


def test_an_added_setting_without_effect_is_no_change(reference: Reference, tmp_path: Path) -> None:
    assert not again(reference, tmp_path / "now", settings={"lr": 1e-3, "own": True}).changes


@pytest.mark.parametrize(("before", "now", "lines"), [(7, 294912, 0), (7, 294913, 6), (None, 9, 0)])
def test_trainable_values_may_change_and_old_records_have_no_count(
    tmp_path: Path, before: int | None, now: int, lines: int
) -> None:
    runs = made(tmp_path / "reference", moved=before)
    chance = Reference(runs, differences(tmp_path / "reference", runs, runs))
    assert len(again(chance, tmp_path / "now", moved=now).changes) == lines


def test_with_other_libraries_only_miou_is_compared(reference: Reference, tmp_path: Path) -> None:
    other = {"batches_hash": "0" * 64, "versions": {"opencv-python": "5"}}
    found = again(reference, tmp_path / "now", loss=1.0, accuracy=0.7, **other)
    assert not found.changes
    assert "batches_hash" in found.notes[0]
    assert all(row.regressed for row in found.rows)


def test_changed_labels_are_named_by_domain(reference: Reference, tmp_path: Path) -> None:
    record = reference.runs["lora", 0]
    matrices, ids = confusions(record)
    matrices["bdd100k"] = matrices["bdd100k"][:, [1, 0, 2]][:, :, [1, 0, 2]]  # swapping two classes keeps mIoU
    iou = list(record.targets["bdd100k"].iou)
    score = record.targets["bdd100k"].model_copy(update={"iou": (iou[1], iou[0], iou[2])})
    swapped = record.model_copy(update={"targets": record.targets | {"bdd100k": score}})
    now = read(write(swapped, matrices, ids, tmp_path / "now"))
    found = compare(reference, reference.runs, {("lora", 0): now})
    (line,) = found.changes
    assert re.search("^Lora, seed 0: .*labels of bdd100k", line)


def test_a_failed_run_is_a_failure(reference: Reference) -> None:
    found = compare(reference, reference.runs, {("lora", 0): failed()})
    assert found.failures == ("Lora, seed 0: ce is nan",)
    assert not found.rows


def test_runs_that_cannot_be_compared_are_rejected(reference: Reference, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"protocol streets: .*iterations is 9, .*500"):
        again(reference, tmp_path / "now", fingerprint="0" * 64, protocol_fields=FIELDS | {"iterations": 9})
    with pytest.raises(UserError, match="streets/vit-tiny-streets/lora/seed0: not finished"):
        Reference({("lora", 0): failed()}, {})
    one = {key: run for key, run in reference.runs.items() if key[1] == 0}
    with pytest.raises(UserError, match="two seeds"):
        compare(Reference(one, reference.moved), one, one)


def test_the_rounding_file_belongs_to_its_records(reference: Reference, tmp_path: Path) -> None:
    runs, folder = reference.runs, tmp_path / "reference"
    assert reference.moved["lora", 2]["ce at iteration 20"] == pytest.approx(3 * ROUNDED)
    assert reference.moved["lora", 2]["mIoU on unseen"] == 0
    with pytest.raises(UserError, match=r"rounding\.yaml: runs\.streets/vit-tiny-streets/freeze/seed0: .*; again"):
        rounding.read(folder, made(tmp_path / "others", 0.5), "again")
    with pytest.raises(UserError, match=r"lora/seed7: missing; again"):
        rounding.read(folder, {**runs, ("lora", 7): stored(tmp_path, "lora", 7)}, "again")
    with pytest.raises(UserError, match=r"lora/seed0: .*: ce is nan"):
        rounding.write(folder, runs, dict(runs) | {("lora", 0): failed()})
    (folder / rounding.FILE).write_text("threads: 2")
    with pytest.raises(UserError, match=r"rounding\.yaml: damaged .*; again"):
        rounding.read(folder, runs, "again")
    with pytest.raises(UserError, match=r"rounding\.yaml: .*No such file or directory; again"):
        rounding.read(tmp_path / "nowhere", runs, "again")


# -- the command ----------------------------------------------------------------------------------------


@pytest.fixture
def words(tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]) -> list[str | Path]:
    """Command line of a check of the tiny protocol, with new reference records and their rounding file."""
    path, reference = tiny_protocol(variants={"check": {"evaluation": {"times": 1}}}), tmp_path / "reference"
    fixed = load(str(path), "check")
    for seed in (0, 1):
        train_and_record(Job(RunSpec(fixed, fixed.backbone, "freeze", seed), data_root=tiny_data, folder=reference))
    words: list[str | Path] = ["check", "--protocol", path, "--data-root", tiny_data, "--reference", reference]
    done = call(*words, "--rounding")
    assert done.returncode == 0, done.stderr
    return words


def test_check_on_the_command_line(words: list[str | Path], tmp_path: Path) -> None:
    kept: list[str | Path] = ["--records", tmp_path / "kept", "--only", "runs"]
    done = call(*words, *kept, "--workers", "1")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "passed: " in done.stderr
    assert "| Freeze, unseen |" in done.stdout
    (place,) = (tmp_path / "kept").iterdir()
    assert place.name == worktree.key(), "runs of another version of the code are not reused"

    edited = {}
    for record in read_all(tmp_path / "reference" / "tiny@check"):
        losses = [(step, {name: loss + 1 for name, loss in each.items() if loss}) for step, each in record.losses]
        changed = record.model_copy(update={"losses": tuple(losses)})
        edited["freeze", record.seed] = read(write(changed, *confusions(record), tmp_path / "reference"))
    rounding.write(tmp_path / "reference" / "tiny@check", edited, edited)
    done = call(*words, *kept, "--seeds", "1")
    assert done.returncode == 1
    assert re.search("1 of 1 runs .*finished", done.stderr)
    assert "changed: Freeze, seed 1: ce at iteration 10 is" in done.stderr
    assert "seed 0" not in done.stderr


@pytest.mark.parametrize(("miou_only", "code"), [(False, 1), (True, 0)])
def test_with_miou_only_losses_may_change(reference: Reference, tmp_path: Path, miou_only: bool, code: int) -> None:
    found = again(reference, tmp_path / "now", loss=1.0)
    assert found.changes
    with pytest.raises(SystemExit) if code else nullcontext():
        command._end(found, miou_only, Console(stderr=True))


def test_invalid_input_is_rejected(reference: Reference, tmp_path: Path) -> None:
    assert re.search("--reference: .*nowhere", refused(call("check", "--reference", "nowhere")))
    assert "--rounding" in refused(call("check", "--rounding", "--seeds", "0"))
    with pytest.raises(UserError, match="protocol streets"):
        command.references(tmp_path / "reference", load("streets"))
    with pytest.raises(UserError, match="no reference record of 7"):
        command.chosen(reference.runs, "", "7")
    with pytest.raises(UserError, match="no reference record of full"):
        command.chosen(reference.runs, "full,lora", "")
    with pytest.raises(UserError, match="no variant 'check'"):
        load("camvid", command.VARIANT)


# -- another commit -------------------------------------------------------------------------------------


def test_the_key_depends_on_file_names_and_contents(tmp_path: Path) -> None:
    for package in worktree.PACKAGES:
        (tmp_path / package / "__pycache__").mkdir(parents=True)
        (tmp_path / package / "a.py").write_text("1")
    first = worktree.key(tmp_path)
    (tmp_path / "benchmark" / "__pycache__" / "a.pyc").write_text("2")
    assert worktree.key(tmp_path) == first
    (tmp_path / "benchmark" / "a.py").rename(tmp_path / "benchmark" / "b.py")
    renamed = worktree.key(tmp_path)
    (tmp_path / "benchmark" / "b.py").write_text("2")
    assert len({first, renamed, worktree.key(tmp_path)}) == 3


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git repository")
def test_another_commit_runs_its_own_code_in_a_temporary_worktree() -> None:
    with worktree.checkout("HEAD") as tree:
        assert (tree / "benchmark" / "cli" / "__init__.py").is_file()
        (tree / "benchmark" / "cli" / "__init__.py").write_text("def main():\n    raise SystemExit(7)\n")
        assert worktree.call(tree, ["--version"]) == 7
    assert not tree.exists()
    assert str(tree) not in worktree._git("worktree", "list", what="listing")
    with pytest.raises(UserError, match="--against no-such-ref: "), worktree.checkout("no-such-ref"):
        pass


def test_the_protocol_of_the_commit_is_used_if_it_has_the_variant(tmp_path: Path) -> None:
    own = tmp_path / "benchmark" / "protocols" / "streets.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("title: old")
    assert command._protocol_file("streets", tmp_path) == FOLDER / "streets.yaml"
    own.write_text("variants: {check: {}}")
    assert command._protocol_file("streets", tmp_path) == own


# -- committed references -------------------------------------------------------------------------------


def test_the_committed_references_are_current_and_sensitive() -> None:
    fixed = load("streets", command.VARIANT)
    chance = command.references(RESULTS, fixed)
    assert {run.fingerprint for run in chance.runs.values()} == {fixed.fingerprint()}, "tox -e check-reference"
    found = compare(chance, chance.runs, chance.runs)
    assert not found.changes
    assert all(0 < row.tolerance < row.detectable < 0.05 for row in found.rows)
    assert any(difference for each in chance.moved.values() for difference in each.values())
    assert all((run.moved == 0) == (method in ("freeze", "lora")) for (method, _), run in chance.runs.items())
