"""Micro-cases cover every registry, pass on the code as it is, and turn red on a planted bug."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from rich.console import Console

from baselines.rein import Rein
from benchmark.check import command
from benchmark.check.micro import cases, measure, readers, reference
from benchmark.check.micro.digest import Numbers, noise
from benchmark.check.micro.methods import own
from benchmark.check.micro.reference import Conditions, Micro, differences
from benchmark.cli import running
from benchmark.common.errors import UserError
from benchmark.models import segmenter
from benchmark.models.catalogue import own_backbones
from benchmark.protocol import DecoderSpec, Evaluation
from tests import mutations
from tests.mutations import ROOT, server
from tests.mutations.__main__ import results

pytestmark = pytest.mark.slow

RESULTS = ROOT / "results"
ALL = cases.cases()
FEW = ("mode/slide", "method/rein", "metric/miou", "reader/gta5", "transform/distortion")


@pytest.fixture(scope="module")
def known() -> Micro:
    return reference.read(RESULTS)


def computed(*names: str) -> dict[str, Mapping[str, float] | Exception]:
    return {name: found for name, found, _ in cases.computed({name: ALL[name] for name in names})}


# -- coverage -------------------------------------------------------------------------------------------


def test_every_registered_part_has_a_case_and_every_case_a_reference(known: Micro) -> None:
    """If this fails for something new: tox -e check-micro."""
    expected = {f"method/{name}" for name in own()}
    expected |= {f"decoder/{name}" for name in get_args(DecoderSpec.model_fields["name"].annotation)}
    expected |= {f"mode/{name}" for name in get_args(Evaluation.model_fields["mode"].annotation)}
    expected |= {f"model/{name}" for name in own_backbones()}
    assert not readers.missing()
    assert expected <= set(ALL)
    assert len(own()) >= 30
    assert set(known.cases) == set(ALL)
    assert len(known.left_out) <= 0.01 * sum(map(len, known.cases.values()))


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git repository")
def test_references_name_a_commit_in_the_history(known: Micro) -> None:
    words = ["git", "rev-parse", "--is-shallow-repository"]
    shallow = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    if shallow != "false":
        pytest.skip("needs the whole history of the repository")
    commits = [known.commit, *(json.loads(path.read_text())["commit"] for path in RESULTS.glob("*@check/*/*/*.json"))]
    for commit in {str(each) for each in commits}:
        found = subprocess.run(["git", "merge-base", "--is-ancestor", commit, "HEAD"], cwd=ROOT, check=False)
        assert found.returncode == 0, f"{commit}: merge the branch that it is on, or run tox -e check-micro"


def test_tolerances_are_tight_and_measured_with_two_versions_of_torch(known: Micro) -> None:
    assert len({each.versions["torch"] for each in known.measured}) >= 2
    pairs = [pair for numbers in known.cases.values() for pair in numbers.values()]
    assert all(0 < tolerance <= 2 * reference.LARGEST * max(1, abs(value)) for value, tolerance in pairs)
    assert np.quantile([tolerance / max(abs(value), 0.1) for value, tolerance in pairs], 0.9) < 1e-6


# -- what is reported -----------------------------------------------------------------------------------


def test_the_code_as_it_is_passes(known: Micro) -> None:
    assert not differences(known, computed(*FEW))


def moved_windows(patch: pytest.MonkeyPatch) -> None:
    """Move the windows between the first and the last by 7 pixels."""
    true = segmenter.windows

    def moved(length: int, crop: int, stride: int) -> list[slice]:
        found = true(length, crop, stride)
        inner = [slice(each.start - min(7, each.start), each.stop - min(7, each.start)) for each in found[1:-1]]
        return [*found[:1], *inner, *found[1:][-1:]]

    patch.setattr(segmenter, "windows", moved)


def no_train_mode(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rein, "train_mode", lambda self: None)


@pytest.mark.parametrize(
    ("bug", "case", "number"),
    [(moved_windows, "mode/slide", ""), (no_train_mode, "method/rein", "modules in train mode")],
)
def test_bugs_that_no_short_run_shows_are_found(
    known: Micro, monkeypatch: pytest.MonkeyPatch, bug: Callable[[pytest.MonkeyPatch], None], case: str, number: str
) -> None:
    bug(monkeypatch)
    (line,) = differences(known, computed(case))
    assert line.startswith(f"changed: {case}: {number}")
    assert "tolerance" in line


def made(**tolerances: tuple[float, float]) -> Micro:
    left = {"method/a: other a": "differs"}
    return Micro(commit=None, measured=[], left_out=left, cases={"method/a": tolerances})


def test_a_number_beyond_its_tolerance_is_a_line_with_both_values() -> None:
    known = made(loss=(1.0, 1e-6), rate=(2.0, 1e-6))
    assert not differences(known, {"method/a": {"loss": 1 + 9e-7, "rate": 2.0, "other a": 5.0}})
    (line,) = differences(known, {"method/a": {"loss": 1 + 2e-6, "rate": 2.1}})
    assert line == "changed: method/a: loss is 1.000002, was 1; tolerance 1e-06 (and 1 more of 2)"
    (line,) = differences(known, {"method/a": {"loss": float("nan"), "rate": 2.0}})
    assert "loss is nan, was 1" in line


def test_missing_and_failing_cases_are_reported() -> None:
    known = made(loss=(1.0, 1e-6))
    (line,) = differences(known, {"method/b": {"loss": 1.0}})
    assert line.startswith("missing: method/b: no reference")
    (line,) = differences(known, {"method/a": RuntimeError("broken\nbadly")})
    assert line == "failed: method/a: RuntimeError: broken badly"
    (line,) = differences(known, {"method/a": {}})
    assert line.startswith("changed: method/a: loss is absent, was 1")
    (line,) = differences(known, {"method/a": {"loss": 1.0, "new": 3.0}})
    assert "new is 3, was absent" in line


def test_the_tolerance_is_ten_times_the_difference_between_conditions_and_others_are_left_out(tmp_path: Path) -> None:
    conditions = Conditions(threads=1, environment={}, versions={"torch": "2"})
    one = {"a/b": {"x rms": 1.0, "x a": 1e-9, "y rms": 1.0}}
    other = {"a/b": {"x rms": 1 + 1e-5, "x a": 1e-9, "y rms": 2.0}}
    reference.write(tmp_path, [(conditions, one), (conditions, other)])
    found = reference.read(tmp_path)
    assert found.cases["a/b"]["x rms"] == (1.0, pytest.approx(1e-4, rel=0.06))
    assert found.cases["a/b"]["x a"] == (1e-9, pytest.approx(reference.FLOOR, rel=0.06)), "as large as its tensor's"
    assert list(found.left_out) == ["a/b: y rms"]
    with pytest.raises(UserError, match="a/b: x rms"):
        reference.write(tmp_path, [(conditions, one), (conditions, {"a/b": {}})])
    with pytest.raises(UserError, match="a/b: x rms: not finite"):
        reference.write(tmp_path, [(conditions, {"a/b": {"x rms": float("nan")}})])


@pytest.mark.parametrize("content", [None, "", '{"commit": 1}', '{"commit": null, "commit": null}', "[" * 5000])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "check").mkdir()
        (tmp_path / "check" / "micro.yaml").write_text(content)
    with pytest.raises(UserError, match=r"micro\.yaml: (damaged|cannot be read).*tox -e check-micro") as raised:
        reference.read(tmp_path)
    assert "\n" not in str(raised.value)


def test_digests_see_every_element_and_position() -> None:
    values = noise("values", 6, 7)
    before = Numbers()
    before.put("x", values)
    for change in (values.T.copy(), values[::-1], values * [1, 1, 1, 1, 1, 1, -1]):
        now = Numbers()
        now.put("x", torch.from_numpy(change.copy()))
        assert abs(now["x a"] - before["x a"]) > 1e-3
    assert abs(values.mean()) < 0.3
    assert noise("values", 3)[2] == values[0, 2]
    assert noise("others", 3)[2] != values[0, 2]
    with pytest.raises(ValueError, match="'x rms'"):
        before.put("x", values)


# -- the command ----------------------------------------------------------------------------------------


def test_check_compares_micro_cases_and_only_chooses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {name: ALL[name] for name in ("metric/miou", "transform/distortion")}
    monkeypatch.setattr(cases, "cases", lambda: few)
    console = Console(stderr=True)
    assert command.compare_micro(RESULTS, console), "the other cases are missing"
    known = reference.read(RESULTS)
    name = "mIoU, rare rms"
    known.cases = {case: known.cases[case] for case in few}
    known.cases["metric/miou"][name] = (known.cases["metric/miou"][name][0] + 1e-3, 1e-9)
    (tmp_path / "check").mkdir()
    (tmp_path / "check" / "micro.yaml").write_text(known.model_dump_json())
    assert command.compare_micro(tmp_path, console)
    assert "metric/miou: mIoU, rare rms is" in capsys.readouterr().err
    ended = {}
    for only in ("micro", "runs"):
        with pytest.raises((SystemExit, UserError)) as raised:
            command.run(
                "no-such-protocol", against=None, methods="", seeds="", data_root=None, records=None,
                reference=tmp_path, workers=None, miou_only=False, only=only,
            )  # fmt: skip
        ended[only] = raised.value
    assert isinstance(ended["micro"], SystemExit)
    assert ended["micro"].code == 1
    assert "no-such-protocol" in str(ended["runs"]), "the micro-cases were left out"


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UserError, match="--only micro"):
        running.check(only=running.CheckPart.micro, miou_only=True)
    with pytest.raises(UserError, match="--micro-reference"):
        running.check(micro_reference=True, seeds="0")
    with pytest.raises(UserError, match="--python"):
        running.check(pythons=[Path("python3")])


def test_references_that_could_not_be_written_are_not_measured(tmp_path: Path) -> None:
    """Measuring takes half an hour."""
    seen: list[str] = []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.*: .* give another --reference"):
        measure.run(tmp_path / "file" / "folder", [], seen.append)
    with pytest.raises(UserError, match=r"--python: no program .*absent; name"):
        measure.run(tmp_path, [tmp_path / "absent"], seen.append)
    assert not seen


# -- mutations ------------------------------------------------------------------------------------------


def test_every_mutation_changes_a_text_that_occurs_once() -> None:
    table = mutations.table()
    assert len(table) >= 100
    assert len({each.key for each in table}) == len(table)
    for each in table:
        each.applied((ROOT / each.file).read_text(encoding="utf-8"))


def test_the_committed_score_covers_the_table_and_gives_reasons_for_survivors() -> None:
    rows = results()
    reasons = {each.key: each.reason for each in mutations.table()}
    assert set(rows) == set(reasons)
    found = [row["found"] for row in rows.values()]
    assert sum(found) >= 0.9 * len(found)
    assert all(reasons[key] for key, row in rows.items() if not row["found"])


def test_a_mutation_is_found_in_a_copy_and_the_copy_restored(tmp_path: Path) -> None:
    server.copy(tmp_path, compiled=False)
    bug = mutations.Mutation("benchmark/models/segmenter.py", "rsqrt()", "reciprocal()")
    only = ("model/class weights", "metric/miou")
    found = server.tried(tmp_path, bug, only)["line"]
    assert found.startswith("changed: model/class weights: ")
    assert server.tried(tmp_path, None, only)["line"] == ""
