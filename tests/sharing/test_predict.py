"""Predictions of a run on images without labels: equal to its evaluation, whole or not there, never mixed."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.artifacts.predictions import examples
from benchmark.artifacts.restore import exported, restore, restore_exported
from benchmark.common.errors import UserError
from benchmark.data.loader import planes
from benchmark.prediction.command import Request, run
from benchmark.records import Record, find
from benchmark.sharing.export import export
from tests.cli.test_cli import call, refused
from tests.data.conftest import SHARED

FRAMES = ["0001TP_00000", "0001TP_00001", "Seq05VD_00000", "Seq05VD_00001"]
"""The frames whose predictions a record has."""


def predict(which: str | Path, out: Path, *images: str | Path, records: Path = Path("runs"), **more: Any) -> None:
    run(Request(which=str(which), images=[str(each) for each in images], out=out, records=records, **more))


def class_map(out: Path, stem: str) -> np.ndarray:
    with Image.open(out / "classes" / f"{stem}.png") as picture:
        assert picture.mode == "L"
        return np.array(picture)


@pytest.fixture(scope="module")
def whole(runs: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of LoRA on five frames, with everything."""
    out = tmp_path_factory.mktemp("predicted")
    frames = tiny_data / "camvid" / "test"
    predict("lora", out, frames, records=runs, overlays=True, table=True, archive=True)
    return out


def test_predictions_are_those_of_the_evaluation(whole: Path, runs: Path) -> None:
    kept = examples(find("lora", runs))
    for stem, expected in zip(FRAMES, [*kept["dusk"], *kept["elsewhere"]], strict=True):
        assert np.array_equal(class_map(whole, stem), expected)
    assert sorted(path.stem for path in (whole / "overlays").iterdir()) == [*FRAMES, "Seq05VD_00002"]


@pytest.mark.parametrize("method", ["lora", "random"])
def test_an_exported_folder_and_file_predict_as_the_run(
    method: str, whole: Path, runs: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tiny_data / "camvid" / "test" / f"{FRAMES[0]}.png"
    export(method, runs, tmp_path / "folder", decoder=False)
    export(method, runs, tmp_path / "run.safetensors", decoder=True)
    monkeypatch.chdir(tmp_path)
    expected = examples(find(method, runs))["dusk"][0]
    for place in ("folder", "run.safetensors"):
        predict(place, tmp_path / f"by {place}", image, records=tmp_path)
        assert np.array_equal(class_map(tmp_path / f"by {place}", FRAMES[0]), expected)
    assert exported(tmp_path / "run.safetensors").checksum == find(method, runs).checksum
    with pytest.raises(UserError, match=r"runs.*: contains 2 records; give one of"):
        predict(runs, tmp_path / "out", image)


def test_sliding_windows_and_weights_of_a_file(weighed: tuple[Record, Path], tiny_data: Path, tmp_path: Path) -> None:
    record, weights = weighed
    assert record.path is not None
    image = tiny_data / "camvid" / "test" / f"{FRAMES[0]}.png"
    predict(record.path, tmp_path / "out", image, weights=weights)
    assert np.array_equal(class_map(tmp_path / "out", FRAMES[0]), examples(record)["dusk"][0])
    export(str(record.path), tmp_path, tmp_path / "folder", decoder=False)
    with pytest.raises(UserError, match=r"^\S*folder/tiny/.*pre-trained weights .*--weights"):
        predict(tmp_path / "folder", tmp_path / "out", tiny_data / "camvid" / "val")
    export(str(record.path), tmp_path, tmp_path / "run.safetensors", decoder=True)
    assert not restore_exported(tmp_path / "run.safetensors", weights).training


def test_confidences_are_those_of_the_model(whole: Path, runs: Path, tiny_data: Path) -> None:
    with (whole / "confidence.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [f"{stem}.png" for stem in [*FRAMES, "Seq05VD_00002"]]
    segmenter = restore(find("lora", runs))
    for row in rows:
        assert (row["width"], row["height"]) == ("64", "48")
        image = planes(np.array(Image.open(tiny_data / "camvid" / "test" / row["image"])))
        p = segmenter.predict(image[None])[0].double().softmax(0)
        assert float(row["confidence"]) == pytest.approx(p.amax(0).mean().item(), abs=2e-6)
        assert float(row["entropy"]) == pytest.approx(-(p * p.log()).sum(0).mean().item(), abs=2e-6)


def test_the_archive_has_the_class_maps(whole: Path) -> None:
    with zipfile.ZipFile(whole / "submission.zip") as archive:
        assert archive.namelist() == [f"{stem}.png" for stem in [*FRAMES, "Seq05VD_00002"]]
        for name in archive.namelist():
            assert archive.read(name) == (whole / "classes" / name).read_bytes()


def test_a_repeated_command_predicts_only_what_is_missing(
    whole: Path, runs: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(whole, out)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.rglob("*.png")}
    again: dict[str, Any] = {"records": runs, "overlays": True, "table": True}
    predict("lora", out, tiny_data / "camvid" / "test", **again)
    assert capsys.readouterr().out.endswith("confidence.csv: 0 predicted, 5 existing, 0 skipped\n")
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.rglob("*.png")} == before
    (out / "classes" / f"{FRAMES[1]}.png").write_bytes(b"damaged")
    (out / "overlays" / f"{FRAMES[2]}.png").unlink()
    predict("lora", out, tiny_data / "camvid" / "test", **again)
    assert "2 predicted, 3 existing" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == {path: content for path, (content, _) in before.items()}
    assert (out / "confidence.csv").read_bytes() == (whole / "confidence.csv").read_bytes()


def test_predictions_of_other_runs_and_options_are_not_mixed(whole: Path, runs: Path, tiny_data: Path) -> None:
    frames = tiny_data / "camvid" / "test"
    for which, more, line in (
        ("random", {}, "run of the predictions there is 'tiny/.*/lora/seed0', here 'tiny/.*/random/seed0'"),
        ("lora", {"test_size": "32x32"}, "test_size of the predictions there is 'own', here '32x32'"),
    ):
        with pytest.raises(UserError, match=rf"predictions\.json: {line}; give another --out"):
            predict(which, whole, frames, records=runs, **more)
    assert json.loads((whole / "predictions.json").read_text())["ids"] == "train"


def test_any_size_is_predicted_at_its_own_size(runs: Path, tmp_path: Path) -> None:
    sizes = [(1, 1), (1, 300), (300, 1), (17, 33), (250, 9)]
    (tmp_path / "in").mkdir()
    for width, height in sizes:
        pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{width}x{height}.png")
    for size in (None, "40x20"):
        out = tmp_path / f"out {size}"
        predict("lora", out, tmp_path / "in", records=runs, test_size=size, overlays=True)
        assert [class_map(out, f"{w}x{h}").shape for w, h in sizes] == [(h, w) for w, h in sizes]


def test_bad_files_are_listed_and_skipped_with_code_1(runs: Path, tiny_data: Path, tmp_path: Path) -> None:
    source, out = tiny_data / "camvid" / "test" / f"{FRAMES[0]}.png", tmp_path / "out"
    folder = tmp_path / "in" / "deep"
    folder.mkdir(parents=True)
    shutil.copy(source, folder / "good.png")
    (folder / "cut.png").write_bytes(source.read_bytes()[:2000])
    (folder / "notes.md").write_text("no image")
    done = call("predict", "lora", tmp_path / "in", "--records", runs, "--out", out)
    assert done.returncode == 1
    assert done.stdout == f"{out}: 1 predicted, 0 existing, 2 skipped\n"
    lines = sorted(line.partition(" (")[0] for line in done.stderr.splitlines())
    assert lines == [f"skipped: {folder}/cut.png: damaged", f"skipped: {folder}/notes.md: not an image"]
    assert [path.relative_to(out).as_posix() for path in (out / "classes").rglob("*.png")] == ["classes/deep/good.png"]


def test_mistakes_are_refused_before_anything_is_written(runs: Path, tiny_data: Path, tmp_path: Path) -> None:
    image, out = tiny_data / "camvid" / "test" / f"{FRAMES[0]}.png", tmp_path / "out"
    common: list[str | Path] = ["--records", runs, "--out", out]
    export("lora", runs, tmp_path / "head.safetensors", decoder=False)
    (tmp_path / "code.safetensors").write_bytes(pickle.dumps(print))
    mistakes: list[tuple[list[str | Path], str]] = [
        (["lora", tmp_path / "none.png"], "none.png: no such file or folder"),
        (["lora", image, "--ids", "cityscapes"], "--ids cityscapes: the run predicts the classes of 'camvid'"),
        (["lora", image, "--test-size", "big"], "--test-size big: must be WIDTHxHEIGHT"),
        (["lorra", image], "no record 'lorra'"),
        ([tmp_path / "head.safetensors", image], "contains no decoder"),
        ([tmp_path / "code.safetensors", image], "not safetensors"),
    ]
    for words, line in mistakes:
        assert line in refused(call("predict", *words, *common))
    assert not out.exists()


def test_too_little_space_stops_before_anything_is_written(runs: Path, tiny_data: Path, small: Path) -> None:
    with pytest.raises(UserError, match=r"small: \S+ MB are free, 5 predictions need about \S+ MB; free some space"):
        predict("lora", small, tiny_data / "camvid" / "test", records=runs, overlays=True)
    assert not list(small.iterdir())
    image = tiny_data / "camvid" / "test" / f"{FRAMES[0]}.png"
    (small / "filler").write_bytes(bytes(40 << 10))
    predict("lora", small, image, records=runs)
    assert class_map(small, FRAMES[0]).shape == (48, 64)


@pytest.mark.skipif(not (SHARED / "data" / "labelmefacade").is_dir(), reason="needs photographs in ../shared/data")
def test_photographs_are_predicted_and_drawn(runs: Path, tmp_path: Path) -> None:
    photographs = sorted((SHARED / "data" / "labelmefacade" / "images").iterdir())[:2]
    predict("lora", tmp_path, *photographs, records=runs, overlays=True, test_size="160x120")
    for path in photographs:
        with Image.open(path) as picture, Image.open(tmp_path / "overlays" / f"{path.stem}.png") as drawn:
            assert class_map(tmp_path, path.stem).shape == (picture.height, picture.width)
            assert drawn.width >= picture.width
            assert drawn.height > picture.height
