"""Stability: two estimates on the same model, their cost, the record, the table, and errors."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import yaml

from benchmark import protocol, tables
from benchmark.cli import listing
from benchmark.common.errors import UserError
from benchmark.models.weights import tensors_hash
from benchmark.records import path_of, read_all
from benchmark.records.seal import sealed
from benchmark.runs.events import Event, Step
from benchmark.runs.experiment import Experiment
from benchmark.runs.job import Job
from benchmark.runs.one_run import train_and_record
from benchmark.runs.spec import RunSpec
from benchmark.stability import table
from benchmark.stability.command import parse_images
from benchmark.stability.figure import draw
from benchmark.stability.measure import Bench
from benchmark.stability.record import Criterion, Estimator, Stability, place_of, read, write
from benchmark.training.trainer import Trainer
from tests.cli.test_cli import ROOT, call, refused
from tests.conftest import TINY
from tests.records.made import stored
from tests.warm import shared, until

pytestmark = pytest.mark.slow

IMAGES = (2, 8)
COMMITTED = sorted((ROOT / "results" / "stability").rglob("*.stability.json"))
Forgery = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> list[str]:
    """The command line for the tiny protocol; the records folder is the last argument."""
    folder = tmp_path_factory.mktemp("stability")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY), encoding="utf-8")
    given = ["--protocol", str(folder / "tiny.yaml"), "--data-root", str(tiny_data)]
    return ["stability", *given, "--images", ",".join(map(str, IMAGES)), "--records", str(folder / "runs")]


@pytest.fixture(scope="module")
def done(words: list[str]) -> subprocess.CompletedProcess[str]:
    return call(*words)


@pytest.fixture
def path(words: list[str], done: subprocess.CompletedProcess[str]) -> Path:
    assert done.returncode == 0, done.stderr
    return place_of(Path(words[-1]), "tiny", "vit-tiny-random", 0)


@pytest.fixture
def record(path: Path) -> Stability:
    return read(path)


# -- measurement ---------------------------------------------------------------------------------------


def test_estimates_of_f_agree_more_with_more_images(record: Stability) -> None:
    few, many = (point.agreement["f"].overlap for point in record.curves["per-sample"])
    assert record.chance < few < many - 0.05 < 0.95


def test_selections_on_the_source_are_compared_with_those_on_each_target(record: Stability) -> None:
    assert set(record.targets) == {"dusk", "elsewhere"}
    for overlap in record.targets.values():
        assert set(overlap.source) == set(get_args(Criterion))
        assert record.chance < overlap.source["f"] < 1
        assert overlap.source["f"] > overlap.source["delta-f"], "the tiny domains share their classes' colours"
    made = table.of_targets([record])
    assert made is not None
    assert [row.cells[0].mean for row in made.rows] == pytest.approx(
        [100 * overlap.source["f"] for overlap in record.targets.values()]
    )
    assert table.of_targets([record.model_copy(update={"targets": {}})]) is None


def test_every_estimator_and_criterion_has_its_cost(record: Stability) -> None:
    assert record.images == IMAGES
    assert set(record.curves) == set(get_args(Estimator))
    for estimator, points in record.curves.items():
        for point in points:
            passes = 2 if estimator == "variational" else 1
            costs = {name: each.evaluations for name, each in point.agreement.items()}
            assert costs == {name: point.images * passes * (1 if name == "f" else 2) for name in get_args(Criterion)}
        assert points[0].cpu_seconds < points[1].cpu_seconds
    assert record.frames == 7
    assert record.curves["per-sample"][1].common >= 6, "8 and 8 images of 7 frames must overlap"


def tiny_job(words: list[str], method: str = "fishertune") -> Job:
    fixed = protocol.load(words[2])
    return Job(RunSpec(fixed, fixed.backbone, method, 0), Path(words[4]), Path(words[-1]).parent / "others")


def test_estimates_use_the_decoder_warm_up_of_the_runs(words: list[str], record: Stability) -> None:
    job = tiny_job(words, "full")

    def stop(event: Event) -> None:
        if isinstance(event, Step) and event.step == record.warmup:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_and_record(job, stop)
    weights = torch.load(job.checkpoint, weights_only=True)["segmenter"]
    decoder = {name.removeprefix("decoder."): w for name, w in weights.items() if name.startswith("decoder.")}
    assert tensors_hash(decoder) == record.warm_hash != record.decoder_hash


def test_a_repeated_estimate_selects_the_same_weights_and_another_does_not(words: list[str]) -> None:
    job = tiny_job(words)
    experiment = Experiment(job)
    spec = job.spec
    trainer = Trainer(
        spec.protocol, 0, experiment.segmenter, spec.make_method(), experiment.data, experiment.accelerator
    )
    bench = Bench(job, experiment, trainer, [2], lambda event: None)
    assert not bench._frames(0, 2) & bench._frames(1, 2), "2 and 2 images of 7 frames must be disjoint"
    (first,), (_,), (again,), (other,) = (
        bench._stops(*how, bench.data)
        for how in (("per-sample", 0), ("variational", 0), ("per-sample", 0), ("per-sample", 1))
    )
    for criterion, choice in first.choices.items():
        assert choice.overlap(again.choices[criterion]) == 1
        assert choice.overlap(other.choices[criterion]) < 0.9


# -- record --------------------------------------------------------------------------------------------


def test_a_record_is_read_as_it_was_written(record: Stability, path: Path, tmp_path: Path) -> None:
    write(record, tmp_path / "seed0.stability.json")
    assert (tmp_path / "seed0.stability.json").read_bytes() == path.read_bytes()
    assert read(tmp_path / "seed0.stability.json") == record


@pytest.mark.parametrize(
    ("forgery", "message"),
    [
        (lambda f: f.update(chosen=f["candidates"] + 1), "chosen: 2433025 of 2433024"),
        (lambda f: f["curves"]["per-batch"].reverse(), r"curves\.per-batch: images"),
        (lambda f: f["curves"]["per-batch"].pop(), r"curves\.per-batch: images"),
        (lambda f: f["curves"]["per-batch"][0]["agreement"]["f"].update(overlap=1.5), r"agreement\.f\.overlap"),
        (lambda f: f.update(curves={}), "curves: none"),
        (lambda f: f.pop("warm_hash"), "warm_hash"),
    ],
)
def test_an_invalid_record_is_an_error(path: Path, tmp_path: Path, forgery: Forgery, message: str) -> None:
    fields = json.loads(path.read_bytes())
    forgery(fields)
    copy = tmp_path / path.name
    copy.write_bytes(sealed(fields))
    with pytest.raises(UserError, match=message) as caught:
        read(copy)
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_record_is_an_error(path: Path, tmp_path: Path) -> None:
    copy, whole = tmp_path / path.name, path.read_text(encoding="utf-8")
    copy.write_text(whole[: len(whole) // 2], encoding="utf-8")
    with pytest.raises(UserError, match="truncated"):
        read(copy)
    copy.write_text(whole.replace('"overlap": 0.', '"overlap": 0.9'), encoding="utf-8")
    with pytest.raises(UserError, match="curves: edited"):
        read(copy)
    run = stored(tmp_path / "runs").path
    assert run is not None
    with pytest.raises(UserError, match=r"seed0\.json"):
        read(run)


def test_it_is_not_listed_as_a_run(record: Stability, tmp_path: Path) -> None:
    stored(tmp_path)
    write(record, place_of(tmp_path, record.protocol, record.backbone, 0))
    write(record, path_of(tmp_path, "streets", "vit-tiny-streets", "lora", 0).with_name("seed0.stability.json"))
    assert [run.method for run in read_all(tmp_path)] == ["lora"]
    assert [run.method for run in listing.runs(tmp_path)] == ["lora"]


# -- table and figure ----------------------------------------------------------------------------------


def made(record: Stability, seed: int, shift: float) -> Stability:
    """Return the record of another seed, with all overlaps increased by ``shift``."""
    fields = record.model_dump()
    for point in (point for curve in fields["curves"].values() for point in curve):
        for agreement in point["agreement"].values():
            agreement["overlap"] += shift
    return Stability.model_validate(fields | {"seed": seed})


def test_the_table_has_mean_and_spread_and_the_overlap_at_equal_cost(record: Stability) -> None:
    built = table.build([record, made(record, 1, 0.02)])
    heads = [column.head for column in built.columns]
    rows = {row.method: dict(zip(heads, row.cells, strict=True)) for row in built.rows}
    assert len(rows) == 9
    assert [row.method for row in built.rows if "(FisherTune)" in row.label] == ["drf/variational"]
    overlap = record.curves["per-sample"][1].agreement["f"].overlap
    cell = rows["f/per-sample"]["8 images"]
    assert cell.mean == pytest.approx(100 * overlap + 1)
    assert cell.spread == pytest.approx(2**0.5)
    # F computes 8 gradients from 8 images; DRF from 4, which are not measured here.
    assert rows["f/per-sample"]["8 evaluations"] == cell
    assert rows["drf/per-sample"]["8 evaluations"].mean is None
    assert rows["drf/variational"]["Evaluations per image"].mean == 4
    assert "5.8 %" in tables.markdown(built)
    assert rows["drf/variational"]["CPU-s"].mean is not None
    elsewhere = made(record, 1, 0.02).model_copy(update={"machine": {"processor": "another"}})
    assert {row.cells[-1].mean for row in table.build([record, elsewhere]).rows} == {None}


def test_equal_records_give_equal_figures_and_others_do_not(record: Stability) -> None:
    one, again, other = draw([record]), draw([record]), draw([made(record, 0, 0.02)])
    assert one == again
    assert one[".png"].startswith(b"\x89PNG")
    assert one[".pdf"].startswith(b"%PDF")
    assert one[".png"] != other[".png"]


@pytest.mark.parametrize("field", ["fingerprint", "weights_hash", "data_hash"])
def test_seeds_under_different_conditions_are_an_error(record: Stability, field: str) -> None:
    other = record.model_copy(update={"seed": 1, field: "other"})
    for make in (table.build, draw):
        with pytest.raises(UserError, match=f"seeds 0 and 1 .*{field}"):
            make([record, other])


# -- the command ---------------------------------------------------------------------------------------


def test_a_finished_seed_is_kept_and_other_conditions_are_an_error(
    words: list[str], done: subprocess.CompletedProcess[str], path: Path
) -> None:
    assert "| DRF, variational (FisherTune) |" in done.stdout
    assert sorted(each.name for each in path.parent.iterdir()) == ["overlap.pdf", "overlap.png", path.name]
    stamp = path.stat().st_mtime_ns
    again = call(*words)
    assert again.stdout == done.stdout
    assert path.stat().st_mtime_ns == stamp
    place = words.index("--images")
    others = [*words[:place], *words[place + 2 :], "--images"]
    other = refused(call(*others, "2,4"))
    assert str(path) in other
    assert "another --images" in other
    assert "--force" in other
    assert re.search("--images 3: .*batch size, 2", refused(call(*others, "3")))


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_a_killed_measurement_leaves_no_files(words: list[str], tmp_path: Path) -> None:
    output = tmp_path / "output"
    pid = shared().start([*words[:-1], tmp_path / "runs"], output)
    until(output, "\n")
    os.kill(pid, signal.SIGKILL)
    assert shared().wait(pid) == -signal.SIGKILL
    steps = "3 warm-up steps + (3 estimators + 2 targets) x 2 estimates x 4 batches"
    assert "/43" in output.read_text().splitlines()[0], steps
    assert not [each for each in tmp_path.rglob("*") if each.is_file() and each != output]


def test_images_default_to_1_to_32_batches_and_must_be_multiples_of_the_batch_size() -> None:
    assert parse_images("", 8) == [8, 16, 32, 64, 128, 256]
    assert parse_images("16,8", 8) == [8, 16]
    for text in ("x", "8,", "12", "0", "-8"):
        with pytest.raises(UserError, match="--images"):
            parse_images(text, 8)


@pytest.mark.skipif(not COMMITTED, reason="no committed measurement")
def test_committed_measurements_are_complete_and_from_a_clean_commit() -> None:
    for path in COMMITTED:
        found = read(path)
        assert path == place_of(ROOT / "results", found.protocol, found.backbone, found.seed)
        assert found.fingerprint == protocol.load(found.protocol).fingerprint()
        assert len(found.commit or "") == 40, "committed records need a commit without local changes"
        assert path.with_name("overlap.pdf").is_file()
