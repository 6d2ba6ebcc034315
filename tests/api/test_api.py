"""The Python interface: the code of docs/python.md; each function against the command line or stored predictions."""

from __future__ import annotations

import csv
import io
import re
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import benchmark
from benchmark.artifacts.predictions import examples
from benchmark.common import signals
from tests.api.conftest import BLOCKS, execute
from tests.cli.test_cli import ROOT, call

pytestmark = pytest.mark.slow

Page = tuple[Path, str]


def python(code: str, *, folder: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- import ------------------------------------------------------------------------------------------------


def test_the_import_takes_no_time_and_reading_records_no_torch() -> None:
    python(
        "import time; start = time.process_time()\n"
        "import benchmark\n"
        "assert time.process_time() - start < 0.3\n"
        "import sys\n"
        "assert not {'numpy', 'pydantic', 'typer', 'torch'} & set(sys.modules)\n"
        "benchmark.table; benchmark.read_records; benchmark.load_protocol\n"
        "assert 'torch' not in sys.modules"
    )


def test_no_name_is_that_of_a_subpackage_which_would_replace_it() -> None:
    folders = {path.stem for place in benchmark.__path__ for path in Path(place).iterdir()}
    assert not folders & set(benchmark.__all__)
    assert set(benchmark.__all__) <= set(dir(benchmark))
    assert all(getattr(benchmark, name) is not None for name in benchmark.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'tabel'"):
        _ = benchmark.tabel  # type: ignore[attr-defined]


# -- run ---------------------------------------------------------------------------------------------------


def test_the_code_of_the_page_runs(page: Page) -> None:
    folder, output = page
    assert list(BLOCKS) == ["run", "table", "load", "errors"]
    for line in ("LoRA[rank=4] 0 ", "did you mean 'lora'?", "| Freeze ", "mIoU unseen"):
        assert line in output
    names = [record.name for record in benchmark.read_records(folder / "runs")]
    assert names == [f"tiny@quick/vit-tiny-random/{method}/seed0" for method in ("freeze", "lora[rank=4]")]


def test_finished_runs_are_returned_and_not_repeated(page: Page, tiny_data: Path) -> None:
    folder, _ = page
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("seed0.json")}
    records = benchmark.run(
        folder / "tiny.yaml", "lora,freeze", [0], quick=True, settings={"lora": {"rank": 4}}, data_root=tiny_data,
        records=folder / "runs", progress=False,
    )  # fmt: skip
    assert [record.method for record in records] == ["lora[rank=4]", "freeze"]
    assert {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("seed0.json")} == before


def test_an_unfinished_run_raises_and_keeps_the_records_of_the_others(
    page: Page, tiny_data: Path, tmp_path: Path
) -> None:
    folder, _ = page
    shutil.copytree(tiny_data, tmp_path / "data")
    damaged = next((tmp_path / "data" / "camvid" / "train").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:50])
    shutil.copytree(folder / "runs", tmp_path / "runs")
    words = f"{str(folder / 'tiny.yaml')!r}, ['freeze', 'bitfit'], quick=True, data_root='data'"
    output = execute(
        "import benchmark\n"
        f"try: benchmark.run({words})\n"
        "except benchmark.UnfinishedRunsError as error: print(error, [each.method for each in error.records])\n",
        tmp_path,
    )
    assert re.search(rf"1 of 2 runs did not finish: refused: .* bitfit .*{damaged.name}.* \['freeze'\]", output)


def test_mistakes_are_exceptions_with_the_line_of_the_command() -> None:
    with pytest.raises(benchmark.UserError, match="--seeds x: must be a number"):
        benchmark.run("streets", "all", "x")
    with pytest.raises(benchmark.UserError, match="method 'lora': rank"):
        benchmark.run("streets", ["lora"], settings={"lora": {"rank": -1}}, progress=False, records="nowhere")
    with pytest.raises(benchmark.UserError, match="did you mean 'streets'"):
        benchmark.load_protocol("street")
    assert benchmark.load_protocol("streets@quick").iterations == 24


def test_processes_start_without_the_script_that_starts_them(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing\n"
        "from benchmark.runs.pool import _without_main\n"
        "print('script', flush=True)\n"
        "with _without_main():\n"
        "    process = multiprocessing.get_context('spawn').Process(target=print, args=('process',))\n"
        "    process.start()\n"
        "process.join()\n"
    )
    done = subprocess.run([sys.executable, script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["script", "process"], done.stderr


def test_the_callers_handler_of_sigterm_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with signals.sigterm_interrupts():
        assert signal.getsignal(signal.SIGTERM) is signals._interrupt
        inside: list[object] = []

        def elsewhere() -> None:
            with signals.sigterm_interrupts():  # only the main thread may set handlers
                inside.append(None)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert inside
    assert signal.getsignal(signal.SIGTERM) is before


# -- tables ------------------------------------------------------------------------------------------------


def test_tables_are_those_of_the_command(page: Page) -> None:
    records = page[0] / "runs"
    made = benchmark.table(records)
    for name, text in {"latex": made.to_latex(), "markdown": made.to_markdown(), "html": made.to_html()}.items():
        assert call("table", "--records", records, "--format", name).stdout.rstrip("\n") == text.rstrip("\n"), name
    assert made._repr_markdown_() == str(made) == made.to_markdown()
    assert repr(made) == "<Tables: tiny@quick/vit-tiny-random (2 rows)>"


def test_rows_and_numbers_have_the_values_of_the_csv() -> None:
    records = [each for each in benchmark.read_records(ROOT / "results/camvid") if each.method in ("freeze", "lora")]
    made = benchmark.table(records)
    lines = list(csv.DictReader(io.StringIO(made.to_csv())))
    assert len(lines) == len(made.numbers)
    rows = {row["method"]: row for row in made.rows}
    assert list(rows) == ["freeze", "lora"]
    for line in lines:
        row = rows[line["method"]]
        assert str(row[line["column"]]) == line["mean"]
        assert row["table"] == "camvid/vit-tiny-streets"
        if line["spread"]:
            assert str(row[line["column"] + " ±"]) == line["spread"]
    assert benchmark.table(records, methods=["lora"]).rows[0]["label"] == "LoRA"
    with pytest.raises(benchmark.UserError, match="unknown method"):
        benchmark.table(records, methods=["lorra"])


def test_pandas_is_used_if_it_is_there(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    made = benchmark.table(page[0] / "runs")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="needs pandas: python -m pip install pandas"):
        made.to_pandas()
    monkeypatch.undo()
    pytest.importorskip("pandas")
    assert made.to_pandas().to_dict("records") == made.rows


# -- models ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(page: Page) -> benchmark.Model:
    return benchmark.load("lora[rank=4]", page[0] / "runs")


def test_predictions_are_those_of_the_run(model: benchmark.Model, tiny_data: Path) -> None:
    kept = examples(model.record)["dusk"]
    assert len(kept) == 2
    for number, known in enumerate(kept):
        path = tiny_data / "camvid" / "test" / f"0001TP_{number:05d}.png"
        with Image.open(path) as opened:
            pixels = np.array(opened)
        ids = model.predict(path)
        assert np.array_equal(ids, known)
        assert np.array_equal(ids, model.predict(pixels))
        assert ids.dtype == np.uint8
    assert model.classes == model.record.classes
    assert model.colors.shape == (len(model.classes), 3)


def test_windows_slide_as_the_protocol_says(model: benchmark.Model) -> None:
    evaluation = model.protocol.evaluation.model_copy(update={"mode": "slide", "crop": 32, "stride": 16})
    sliding = replace(model, protocol=model.protocol.model_copy(update={"evaluation": evaluation}))
    pixels = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float().to(model.segmenter.mean.device)
    wanted = model.segmenter.predict(images, mode="slide", crop=32, stride=16)[0].argmax(0).cpu().numpy()
    assert np.array_equal(sliding.predict(pixels), wanted)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8),
     np.zeros((0, 4, 3), np.uint8)],
)  # fmt: skip
def test_other_arrays_are_refused(model: benchmark.Model, image: np.ndarray) -> None:
    with pytest.raises(benchmark.UserError, match="an image must be RGB, uint8"):
        model.predict(image)


def test_unknown_runs_and_images_are_refused(model: benchmark.Model, page: Page) -> None:
    with pytest.raises(benchmark.UserError, match="missing"):
        model.predict(page[0] / "missing.png")
    with pytest.raises(benchmark.UserError, match="no record 'lorra'"):
        benchmark.load("lorra", page[0] / "runs")
    with pytest.raises(benchmark.UserError, match="no weight files"):
        benchmark.load("lora/seed0", ROOT / "results" / "camvid")
