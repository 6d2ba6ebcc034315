"""Two tiny runs to share, one with a delta and one with tuned tensors, and a local hub server."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from safetensors.torch import save_file

from benchmark.models.backbone import build_backbone
from benchmark.records import Record, read
from benchmark.runs.job import Job
from benchmark.runs.one_run import train_and_record
from tests.conftest import TINY
from tests.hub_server import Hub, serving
from tests.runs.made import with_spec
from tests.training.test_trainer import job_of

TOKEN = "hf_PlantedForThisTestAndNowhereElse"
REPOSITORY = "someone/some-run"


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """A folder with records of LoRA and Random."""
    folder = tmp_path_factory.mktemp("runs")
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    for method in ("lora", "random"):
        train_and_record(job_of(path, tiny_data, folder, method))
    return folder


@pytest.fixture(scope="session")
def weighed(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> tuple[Record, Path]:
    """A run of Freeze with pre-trained weights from a file, and that file."""
    folder = tmp_path_factory.mktemp("weighed")
    path, weights = folder / "tiny.yaml", folder / "mine.safetensors"
    fixed = {**TINY, "evaluation": {"mode": "slide", "crop": 32, "stride": 16}, "iterations": 4}
    path.write_text(yaml.safe_dump(fixed), encoding="utf-8")
    save_file(build_backbone("vit-tiny-random", seed=1).vit.state_dict(), weights)
    job: Job = with_spec(job_of(path, tiny_data, folder, "freeze"), weights=weights)
    train_and_record(job)
    return read(job.record), weights


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 64 KB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs permission to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A local hub with a logged-in user."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serving(monkeypatch, tmp_path / "cache") as offer:
        yield offer
