"""Cost of FisherTune and its parts compared with the alternatives."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from rich.console import Console
from torch import Tensor, nn

from benchmark import protocol
from benchmark.common.rng import torch_rng
from benchmark.data.location import data_root_for
from benchmark.method import EstimationBatch, SparseAdamW, matrices, top_k
from benchmark.models.backbone import build_backbone
from benchmark.models.decoders import build_decoder
from benchmark.models.segmenter import Segmenter
from benchmark.runs.job import Job
from benchmark.runs.one_run import train_and_record
from benchmark.runs.spec import RunSpec
from methods.fishertune import FisherTune
from methods.fishertune.fisher import per_sample
from tests.benchmarks.counting import operations
from tests.benchmarks.memory import CLEAR, peak
from tests.benchmarks.reference import squares_by_vmap, squares_one_by_one

pytestmark = pytest.mark.slow

BATCH = 8
CLASSES = 19
VIT_L = 300_000_000  # weights to choose from


@pytest.mark.parametrize("how", ["plain backward", "one backward", "loop", "vmap"])
@pytest.mark.parametrize(("name", "count", "side"), [("vit-tiny-random", BATCH, 128), ("dinov2-s", 4, 128)])
def test_squared_gradients_of_a_batch(
    benchmark: BenchmarkFixture, request: pytest.FixtureRequest, name: str, count: int, side: int, how: str
) -> None:
    """Time, and increase of peak memory."""
    if name != "vit-tiny-random":
        request.getfixturevalue("asked_for")
    backbone = build_backbone(name, pretrained=False).eval()
    weights: dict[str, Tensor] = dict(matrices(backbone))
    images = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))

    def losses(x: Tensor) -> Tensor:
        return backbone(x)[-1].square().flatten(1).mean(1)

    def plain() -> dict[str, Tensor]:
        gradients = torch.autograd.grad(losses(images).sum(), list(weights.values()))
        return dict(zip(weights, gradients, strict=True))

    ways: dict[str, Callable[[], dict[str, Tensor]]] = {
        "plain backward": plain,
        "one backward": lambda: dict(per_sample(lambda: losses(images), weights)),
        "loop": lambda: squares_one_by_one(losses, weights, images),
        "vmap": lambda: squares_by_vmap(losses, backbone, weights, images),
    }
    if how != "vmap":  # its operations cannot be counted
        benchmark.extra_info["operations"] = operations(ways[how])
    found = benchmark.pedantic(ways[how], rounds=5, warmup_rounds=1)
    if CLEAR.exists():
        before = peak(reset=True)
        again = ways[how]()
        benchmark.extra_info["memory"] = peak() - before
        del again
    if how in ("loop", "vmap"):
        expected = ways["one backward"]()
        for key, square in found.items():
            torch.testing.assert_close(square, expected[key], rtol=1e-3, atol=1e-5 * float(expected[key].max()))
    assert all(bool(value.any()) for value in found.values())


@pytest.mark.parametrize("how", ["training step", "per-sample", "per-batch", "variational"])
def test_an_iteration_that_estimates(benchmark: BenchmarkFixture, how: str) -> None:
    """An estimate processes a batch twice, as x and x'; a training step processes it once and updates."""
    backbone, spec = build_backbone("vit-tiny-random"), protocol.load("streets").decoder
    segmenter = Segmenter(backbone, build_decoder(spec, backbone.embed_dim, CLASSES, 0))
    generator = torch.Generator().manual_seed(0)
    images = 255 * torch.rand(BATCH, 3, 128, 128, generator=generator)
    labels = torch.randint(CLASSES, (BATCH, 128, 128), generator=generator)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return torch.stack(list(segmenter.losses(x, y).values())).sum()

    optimizer = torch.optim.AdamW(segmenter.parameters(), fused=True)
    given = {} if how == "training step" else {"estimator": how}
    method = FisherTune(FisherTune.Settings.model_validate(given))

    def train() -> None:
        loss(images, labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    def estimate() -> None:
        method.observe_batch(EstimationBatch(images, labels, segmenter, loss, torch_rng(0, "estimation"), 0, 1))

    if how != "training step":
        segmenter.eval()
        method.attach(backbone, torch_rng(0, "method"))
    benchmark.pedantic(train if how == "training step" else estimate, rounds=3, warmup_rounds=1)
    assert how == "training step" or method.evaluations("drf") % (2 * BATCH) == 0 < method.evaluations("drf")


@pytest.mark.parametrize("how", ["sparse", "dense", "dense, fused"])
@pytest.mark.parametrize("dim", [192, 768])
def test_adamw_step(benchmark: BenchmarkFixture, dim: int, how: str) -> None:
    """Compare with torch's AdamW: the default, and the fused one, which all other methods here use."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(3 * dim, dim), (4 * dim, dim), (dim, 4 * dim)] * 6
    params = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(params, fused=how == "dense, fused")
    if how == "sparse":
        optimizer = chosen = SparseAdamW(params)
        scores = {str(i): torch.rand(shape, generator=generator) for i, shape in enumerate(shapes)}
        size = sum(param.numel() for param in params)
        for fraction in (0.01, 0.02, 0.03, 0.04, 0.05):  # a growing set
            for param, mask in zip(params, top_k(scores, round(fraction * size)).values(), strict=True):
                chosen.select(param, mask)
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator)
    benchmark.pedantic(optimizer.step, rounds=20, warmup_rounds=3)
    state = [value for each in optimizer.state.values() for value in each.values()]
    benchmark.extra_info["bytes"] = sum(value.nbytes for value in state)
    assert (benchmark.extra_info["bytes"] < 0.08 * 8 * sum(param.numel() for param in params)) is (how == "sparse")


def test_selection(benchmark: BenchmarkFixture) -> None:
    scores = {"w": torch.rand(20_000_000, generator=torch.Generator().manual_seed(0))}
    masks = benchmark.pedantic(lambda: top_k(scores, 1_000_000), rounds=1)
    assert int(masks["w"].sum()) == 1_000_000


@pytest.mark.usefixtures("asked_for")
@pytest.mark.parametrize("how", ["top_k", "torch.topk"])
def test_selection_among_the_weights_of_a_vit_l(benchmark: BenchmarkFixture, how: str) -> None:
    """Time, and memory on top of the scores, in units of their size; torch.topk stores an index with every score."""
    scores = torch.rand(VIT_L, generator=torch.Generator().manual_seed(0))
    count = VIT_L // 20
    ways: dict[str, Callable[[], Tensor]] = {
        "top_k": lambda: top_k({"w": scores}, count)["w"],
        "torch.topk": lambda: scores.topk(count, sorted=False).indices,
    }
    before = peak(reset=True)
    chosen = benchmark.pedantic(ways[how], rounds=1)
    beyond = (peak() - before) / scores.nbytes  # before counting, which takes memory too
    assert int(chosen.count_nonzero() if how == "top_k" else len(chosen)) == count
    benchmark.extra_info["in_scores"] = round(beyond, 2)
    assert how == "torch.topk" or beyond < 1.2


@pytest.mark.usefixtures("asked_for")
@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("method", ["full", "fishertune"])
def test_a_whole_run_of_the_embedded_default(benchmark: BenchmarkFixture, method: str, tmp_path: Path) -> None:
    """CPU time from loading to the record, including costs common to all methods."""
    fixed = protocol.load("streets")
    job = Job(RunSpec(fixed, fixed.backbone, method, 0), data_root_for(fixed, None, Console(stderr=True)), tmp_path)
    record = benchmark.pedantic(train_and_record, (job,), rounds=1)
    benchmark.extra_info.update(record.seconds, cpu_seconds=record.cpu_seconds)
    assert record.state == "finished"
