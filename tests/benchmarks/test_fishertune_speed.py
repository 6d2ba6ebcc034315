"""What FisherTune's parts cost beside what they replace."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from benchmark.method import SparseAdamW, matrices, top_k
from benchmark.models.backbone import Backbone, build_backbone
from methods.fishertune.fisher import per_sample

BATCH = 8


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return build_backbone("vit-tiny-random").eval()


@pytest.mark.parametrize("how", ["plain backward", "one backward", "loop"])
def test_squared_gradients_of_a_batch(benchmark: BenchmarkFixture, backbone: Backbone, how: str) -> None:
    weights = matrices(backbone)
    images = torch.randn(BATCH, 3, 128, 128, generator=torch.Generator().manual_seed(0))

    def losses(x: Tensor) -> Tensor:
        return backbone(x)[-1].square().flatten(1).mean(1)

    def plain() -> dict[str, Tensor]:
        gradients = torch.autograd.grad(losses(images).sum(), list(weights.values()))
        return dict(zip(weights, gradients, strict=True))

    def loop() -> dict[str, Tensor]:
        total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for image in images:
            gradients = torch.autograd.grad(losses(image[None]).sum(), list(weights.values()))
            for square, gradient in zip(total.values(), gradients, strict=True):
                square.addcmul_(gradient, gradient)
        return total

    ways: dict[str, Callable[[], dict[str, Tensor]]] = {
        "plain backward": plain,
        "one backward": lambda: per_sample(lambda: losses(images), weights),
        "loop": loop,
    }
    found = benchmark.pedantic(ways[how], rounds=3, warmup_rounds=1)
    assert all(bool(value.any()) for value in found.values())


@pytest.mark.parametrize("how", ["sparse", "dense"])
def test_adamw_step(benchmark: BenchmarkFixture, how: str) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(576, 192), (768, 192), (192, 768)] * 6
    params = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(params)
    if how == "sparse":
        optimizer = chosen = SparseAdamW(params)
        scores = {str(i): torch.rand(shape, generator=generator) for i, shape in enumerate(shapes)}
        size = sum(param.numel() for param in params)
        for share in (0.01, 0.02, 0.03, 0.04, 0.05):  # a set that has grown
            for param, mask in zip(params, top_k(scores, round(share * size)).values(), strict=True):
                chosen.select(param, mask)
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator)
    benchmark.pedantic(optimizer.step, rounds=20, warmup_rounds=3)
    state = [value for each in optimizer.state.values() for value in each.values()]
    benchmark.extra_info["bytes"] = sum(value.nbytes for value in state)
    assert (benchmark.extra_info["bytes"] < 0.4e6 * 4) is (how == "sparse")


def test_selection(benchmark: BenchmarkFixture) -> None:
    scores = {"w": torch.rand(20_000_000, generator=torch.Generator().manual_seed(0))}
    masks = benchmark.pedantic(lambda: top_k(scores, 1_000_000), rounds=1)
    assert int(masks["w"].sum()) == 1_000_000
