"""Growth of time and memory with image size, tokens, model size, runs and records."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmark import protocol, tables
from benchmark.models.backbone import build_backbone
from benchmark.models.decoders import build_decoder
from benchmark.models.segmenter import Segmenter
from benchmark.records import read_all
from benchmark.runs import request
from benchmark.runs.job import Job
from benchmark.runs.pending import find_pending
from tests.benchmarks.counting import operations
from tests.benchmarks.memory import beyond
from tests.benchmarks.test_steps import CLASSES, ours, parts
from tests.benchmarks.thousand import written

pytestmark = [pytest.mark.usefixtures("asked_for"), pytest.mark.slow]
FIXED = protocol.load("streets")


def measured(benchmark: BenchmarkFixture, make: Callable[..., Callable[[], Any]], *given: Any, rounds: int = 3) -> None:
    """Time the function that ``make`` returns, after one call; measure the memory of both in another process."""
    work = make(*given)
    benchmark.extra_info["operations"] = operations(work)
    benchmark.pedantic(work, rounds=rounds, warmup_rounds=0)
    benchmark.extra_info["memory"] = beyond(partial(_called, make, *given))


def held(backbone: str, each: int) -> int:
    """Return the bytes of the parameters of backbone and decoder, with ``each`` bytes per parameter."""
    _, vfm, decoder = parts(backbone, 1)
    return each * sum(p.numel() for side in (vfm, decoder) for p in side.parameters())


def _called(make: Callable[..., Callable[[], Any]], *given: Any) -> None:
    make(*given)()


def predicting(side: int) -> Callable[[], Any]:
    vfm = build_backbone("dinov2-s", pretrained=False)
    segmenter = Segmenter(vfm, build_decoder(FIXED.decoder, vfm.embed_dim, CLASSES, 0)).eval()
    image = 255 * torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    return lambda: segmenter.predict(image)


def training(backbone: str, name: str, side: int) -> Callable[[], Any]:
    generator = torch.Generator().manual_seed(0)
    images = 255 * torch.rand(1, 3, side, side, generator=generator)
    labels = torch.randint(CLASSES, (1, side, side), generator=generator)
    return partial(ours(backbone, name), images, labels)


def finding_pending(folder: Path, seeds: int) -> Callable[[], Any]:
    methods = [name for name in ("full", "freeze", "lora", "rein", "vpt", "bitfit", "layernorm", "vqt", "soma", "geco")]

    def look() -> list[Job]:
        common: dict[str, Any] = {"data_root": folder, "folder": folder}
        return find_pending(request.plan(FIXED, FIXED.backbone, methods, range(seeds), {}, **common), force=False)

    return look


def tabulating(folder: Path) -> Callable[[], Any]:
    return lambda: [tables.latex(table) for table in tables.build(read_all(folder))]


@pytest.mark.parametrize("side", [128, 256, 512, 1024])
def test_image_size(benchmark: BenchmarkFixture, side: int) -> None:
    """Forward pass of a whole image through a ViT-S and the light decoder."""
    benchmark.extra_info["held"] = held("dinov2-s", 4)
    measured(benchmark, predicting, side)


@pytest.mark.parametrize("tokens", [64, 256, 1024, 2304])
def test_tokens(benchmark: BenchmarkFixture, tokens: int) -> None:
    """A step of full fine-tuning of a ViT-S on one image."""
    benchmark.extra_info["held"] = held("dinov2-s", 16)  # weight, gradient, two moments
    measured(benchmark, training, "dinov2-s", "full", 16 * round(tokens**0.5))


@pytest.mark.parametrize("backbone", ["vit-tiny-random", "dinov2-s", "dinov2-b", "dinov2-l"])
def test_model_size(benchmark: BenchmarkFixture, backbone: str) -> None:
    """A step of full fine-tuning on one image of 128 x 128."""
    benchmark.extra_info["held"] = held(backbone, 16)
    measured(benchmark, training, backbone, "full", 128, rounds=2)


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_runs(benchmark: BenchmarkFixture, tmp_path: Path, count: int) -> None:
    """Find the pending ones among ``count`` runs, none of which is finished."""
    measured(benchmark, finding_pending, tmp_path, count // 10)


@pytest.mark.parametrize("count", [100, 300, 1000])
def test_records(benchmark: BenchmarkFixture, tmp_path: Path, count: int) -> None:
    """Build tables from ``count`` record files."""
    measured(benchmark, tabulating, written(tmp_path, count // 100))
