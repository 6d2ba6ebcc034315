"""docs/: execute every code block, except commands that need other machines, whose options are checked.

The pages create one package outside the repository. It is installed once into a temporary folder and found by its entry
points. Where a page trains, the test uses a smaller protocol. tests/api executes the code of python.md.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from benchmark import protocol
from benchmark.cli import app
from benchmark.common import registry
from benchmark.data.domains import Domain
from benchmark.records import read
from tests.cli.test_cli import ROOT, call, require_valid
from tests.conftest import TINY

pytestmark = pytest.mark.slow

DOCS = ROOT / "docs"
BLOCK = re.compile(r"<!-- (file|append|run|command|python)(?:: (\S+))? -->\n```\w+\n(.*?)```", re.DOTALL)
INSTALL = "python -m pip install -e ."
BENCHMARK = "python -m benchmark "


@dataclass(frozen=True)
class Block:
    page: str
    kind: str
    name: str
    text: str


BLOCKS = [
    Block(path.stem, *found.groups(default=""))
    for path in sorted(DOCS.glob("*.md"), key=lambda path: path.stem != "method")
    for found in BLOCK.finditer(path.read_text(encoding="utf-8"))
]


def lines(page: str) -> list[str]:
    """Return the commands of a page, except installation."""
    texts = [block.text.splitlines() for block in BLOCKS if (block.page, block.kind) == (page, "run")]
    return [line for text in texts for line in text if line != INSTALL]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package that the pages create; it is installed in its folder ``site``."""
    folder = tmp_path_factory.mktemp("my-dgss")
    (folder / "my_dgss").mkdir()
    (folder / "my_dgss" / "__init__.py").touch()
    for block in BLOCKS:
        if block.kind in ("file", "append"):
            with (folder / block.name).open("x" if block.kind == "file" else "a", encoding="utf-8") as file:
                file.write(block.text)
    where = ["--target", str(folder / "site"), "--no-deps", "--no-index", "--no-build-isolation", "--quiet"]
    # An editable installation would write outside the folder.
    words = [sys.executable, *shlex.split(INSTALL.replace(" -e", ""))[1:], *where]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def installed(package: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the package as working directory, its installation on the path of this process and its children."""
    site = str(package / "site")
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [site, os.environ.get("PYTHONPATH")])))
    monkeypatch.chdir(package)
    return package


def output(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command, assert success and return its output."""
    assert line.startswith(BENCHMARK)
    assert not app(shlex.split(line.removeprefix(BENCHMARK)), standalone_mode=False)
    return capsys.readouterr().out


def test_every_code_block_is_marked_and_every_link_and_path_exists() -> None:
    for path in DOCS.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert text.count("```") == 2 * len(BLOCK.findall(text)) + 2 * text.count("```{"), path
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert (DOCS / link).is_file(), (path, link)
        for place in re.findall(r"`((?:benchmark|baselines)/[^`]*)`", text):
            assert (ROOT / place).exists(), (path, place)


def test_the_index_describes_every_folder_of_the_code() -> None:
    rows = re.findall(r"^\| `benchmark/(\w+)/` \| \S", (DOCS / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    folders = [path.name for path in (ROOT / "benchmark").iterdir() if (path / "__init__.py").is_file()]
    assert sorted(rows) == sorted(folders)


@pytest.mark.parametrize("page", ["scale", "cluster", "backbone", "predict", "commands"])
def test_commands_for_other_machines_have_valid_options(page: str) -> None:
    """The commands need GPUs, data, a download, a finished run or a cluster; only their options are checked."""
    texts = [block.text.replace("\\\n", " ") for block in BLOCKS if (block.page, block.kind) == (page, "command")]
    words = re.findall(r"-m benchmark ([^#\n]*)", "\n".join(texts))
    assert words
    for line in words:
        require_valid(line)


def test_the_method_is_found_run_and_recorded(
    installed: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listing, run = lines("method")
    assert re.search(r"^ *scale-shift\b", output(listing, capsys), re.MULTILINE)
    assert registry.names("method")["scale-shift"] == "my_dgss.scale_shift:ScaleShift"
    path = installed / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY | {"variants": {"quick": {"iterations": 4}}}), encoding="utf-8")
    words = shlex.split(run.removeprefix(BENCHMARK))
    records = installed / "runs"
    smaller = ["--protocol", str(path), "--data-root", str(tiny_data), "--records", str(records), "--workers", "1"]
    done = call(*words, *smaller)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\| ScaleShift +\| +0\.\d+ \|", done.stdout, re.MULTILINE)
    record = read(records / "tiny@quick" / "vit-tiny-random" / "scale-shift" / "seed0.json")
    assert (record.state, record.label, record.origins["lr"]) == ("finished", "ScaleShift", "ours")


def test_the_tests_of_the_methods_pass(installed: Path) -> None:
    names: dict[str, object] = {}
    exec(compile((installed / "test_scale_shift.py").read_text(encoding="utf-8"), "test_scale_shift.py", "exec"), names)
    tests = [each for name, each in names.items() if name.startswith("test_") and callable(each)]
    assert tests
    for each in tests:
        each()


def write_snow(folder: Path) -> None:
    """Write the data set of the pages: all labels are road, id 7, with a row of sky, id 23."""
    chance = np.random.default_rng(0)
    for split in ("train", "val", "night"):
        place = folder / "DIR" / "snow" / split
        place.mkdir(parents=True, exist_ok=True)
        for number in range(2):
            image = chance.integers(0, 256, (48, 64, 3), np.uint8)
            Image.fromarray(image).save(place / f"{number}.png")
            label = np.full((48, 64), 7, np.uint8)
            label[0] = 23
            Image.fromarray(label).save(place / f"{number}_labelIds.png")


def test_the_data_set_is_found_and_read(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_snow(installed)
    listing, check, show = lines("dataset")
    assert re.search(r"^ *snow\b", output(listing, capsys), re.MULTILINE)
    report = output(check, capsys)
    assert "road 97.917" in " ".join(report.split())
    assert "3 domains" in output(show, capsys)
    assert (installed / "sheet.png").is_file()


def test_the_label_set_is_that_of_the_protocol(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_snow(installed)
    (show,) = lines("labels")
    assert "3 domains" in output(show, capsys)
    fixed = protocol.load("winter-drive.yaml")
    assert fixed.label_set().names == ("drivable", "other")
    domain = Domain.find(fixed.targets["night"], installed / "DIR", fixed)
    _, label = domain.reader.read(domain.samples[0])
    assert (label[0] == 255).all()
    assert (label[1:] == 0).all()


def test_parameters_on_the_backbone_are_counted(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listing, count = lines("backbone")
    assert re.search(r"^ *dino-s8\b", output(listing, capsys), re.MULTILINE)
    table = output(count, capsys)
    # Scale and shift for each of 384 channels after each of 12 blocks.
    assert re.search(rf"^\| ScaleShift +\| +{2 * 384 * 12 / 1e6:.6f}\b", table, re.MULTILINE), table


@pytest.mark.parametrize("block", [block for block in BLOCKS if (block.page, block.kind) == ("records", "python")])
def test_records_are_read_as_shown(
    block: Block, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    exec(compile(block.text, block.page, "exec"), {})
    assert "LoRA" in capsys.readouterr().out
