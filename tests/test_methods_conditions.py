"""Contract tests with bfloat16, activation checkpointing, DINOv3's and SAM's blocks, and feature perturbation.

They run for the same methods as tests/test_methods.py. Drop path and dropout are always on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from benchmark.common import registry
from benchmark.common.rng import derive_seed, torch_rng
from benchmark.data.loader import TrainingItem
from benchmark.method import Method, Perturbation, PerturbationSettings, UserError, restyle
from benchmark.models.backbone import Backbone
from benchmark.models.segmenter import Segmenter
from benchmark.training.progress import Progress
from benchmark.training.trainer import Trainer
from tests.backbones import tiny_backbone
from tests.expected import EXPECTED, METHODS, Expected
from tests.small import CLASSES, DIM, Head, OneBatch, bits, logits, method, protocol

pytestmark = pytest.mark.slow

ITERATIONS = 6


def backbone(kind: str = "dinov2") -> Backbone:
    return tiny_backbone(kind, drop_path_rate=0.3, proj_drop_rate=0.1, attn_drop_rate=0.1)


def perturbation(**settings: Any) -> Perturbation:
    return Perturbation(PerturbationSettings(**{"probability": 1, **settings}))


class Logged(OneBatch):
    """Records the requested samples in order."""

    def __init__(self, batch: int) -> None:
        super().__init__(batch=batch)
        self.positions: list[int] = []

    def __getitem__(self, position: int) -> TrainingItem:
        self.positions.append(position)
        return super().__getitem__(position)


def trainer(
    name: str, carried: Perturbation | None = None, precision: str = "no", batch: int = 2, warmup: int = 0
) -> Trainer:
    spec = protocol(ITERATIONS, batch)
    spec = spec.model_copy(update={"decoder": spec.decoder.model_copy(update={"warmup": warmup})})
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    segmenter = Segmenter(backbone(), Head())
    return Trainer(spec, 0, segmenter, method(name), Logged(batch), accelerator, carried)


def trained(started: Trainer, **options: Any) -> list[float]:
    """Run to the end; return the loss of each iteration that had one."""
    losses: list[float] = []
    started.run(
        lambda step: {}, tick=lambda step, named: losses.extend([sum(named.values())] if named else []), **options
    )
    started.segmenter.eval()
    return losses


def state(started: Trainer) -> dict[str, Tensor]:
    return {name: bits(tensor) for name, tensor in started.segmenter.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


Plain = Callable[[str], tuple[Trainer, list[float]]]


@pytest.fixture(scope="session")
def plain() -> Plain:
    @cache
    def finished(name: str) -> tuple[Trainer, list[float]]:
        started = trainer(name)
        return started, trained(started)

    return finished


# -- defined by the protocol -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gets_the_same_samples_and_the_same_decoder(name: str, plain: Plain) -> None:
    started, _ = plain(name)
    assert isinstance(started.data, Logged)
    # Estimates on top of the iterations read the positions after them.
    assert [position for position in started.data.positions if position < 2 * ITERATIONS] == list(range(2 * ITERATIONS))
    decoder = trainer(name).segmenter.decoder.state_dict()
    assert all(torch.equal(bits(decoder[key]), bits(tensor)) for key, tensor in Head().state_dict().items())


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "dinov3") for name in METHODS), *((name, "sam") for name in METHODS)]
)
def test_frozen_weights_do_not_change_with_one_odd_image(name: str, kind: str) -> None:
    """Adds DINOv3's registers and SAM's windows to the backbones of the other contract tests."""
    stated, vit, data = EXPECTED[name], backbone(kind), OneBatch(size=(37, 51), batch=1)
    tensors = dict(vit.named_parameters())
    before = {key: bits(tensor) for key, tensor in tensors.items()}
    fields = registry.find("method", name).Settings.model_fields
    made = method(name, **{key: 0.1 for key in ("weight_decay", "dropout") if key in fields})
    started = Trainer(protocol(4, 1), 0, Segmenter(vit, Head()), made, data, Accelerator(cpu=True))
    losses = trained(started)
    assert losses
    assert all(torch.isfinite(torch.tensor(losses)))
    assert logits(started.segmenter, data).shape == (1, CLASSES, 37, 51)
    moved = {key for key, tensor in tensors.items() if not torch.equal(bits(tensor), before[key])}
    assert all(re.fullmatch(stated.whole, key) or re.fullmatch(stated.part, key) for key in moved)


# -- bfloat16 ----------------------------------------------------------------------------------------------


@pytest.fixture
def other_precision(plain: Plain, request: pytest.FixtureRequest) -> Iterator[None]:
    """Accelerate fixes one precision per process: finish the float32 run first, then reset its state."""
    plain(request.getfixturevalue("name"))
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("name", METHODS)
def test_bfloat16_autocast_trains_similarly(name: str, plain: Plain, other_precision: None) -> None:
    exact, losses = plain(name)
    coarse = trainer(name, precision="bf16")
    started = state(coarse)
    found = trained(coarse)
    assert found != losses, "bfloat16 was on"
    assert found == pytest.approx(losses, rel=0.03)
    assert {tensor.dtype for tensor in coarse.segmenter.parameters()} == {torch.float32}
    assert all(bool(tensor.isfinite().all()) for tensor in coarse.segmenter.parameters())
    moved = [{key for key in started if not torch.equal(state(each)[key], started[key])} for each in (exact, coarse)]
    assert moved[0] == moved[1]


# -- activation checkpointing ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_activation_checkpointing_changes_no_bit(name: str, plain: Plain) -> None:
    """Blocks are recomputed in the backward pass, including their hooks and random numbers."""
    straight, losses = plain(name)
    started = trainer(name)
    started.segmenter.backbone.vit.set_grad_checkpointing(True)
    assert trained(started) == losses
    assert same(state(started), state(straight))


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "eva02") for name in METHODS), *((name, "sam") for name in METHODS)]
)
def test_gradients_are_the_same_with_activation_checkpointing(name: str, kind: str) -> None:
    made, data = method(name), OneBatch()
    segmenter = Segmenter(backbone(kind), Head().requires_grad_(False))
    made.attach(segmenter.backbone, torch_rng(0, "method"))
    made.train_mode()
    trains = {key: tensor for key, tensor in segmenter.named_parameters() if tensor.requires_grad}
    found, calls = [], [0]
    segmenter.backbone.blocks[-1].register_forward_pre_hook(lambda *_: calls.append(calls[-1] + 1))
    for checkpointing in (False, True):
        segmenter.backbone.vit.set_grad_checkpointing(checkpointing)
        torch.manual_seed(3)
        loss = segmenter.losses(data.images, torch.stack([data.label] * 2))["ce"]
        if trains:
            found.append(torch.autograd.grad(loss, list(trains.values()), materialize_grads=True))
    assert calls[-1] == (3 if trains else 2), "blocks must be recomputed"
    for key, *gradients in zip(trains, *found, strict=True):
        assert torch.equal(*gradients), key


# -- feature perturbation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_perturbation_acts_only_in_training_steps(name: str, plain: Plain) -> None:
    unperturbed, losses = plain(name)
    perturbed = trainer(name, perturbation())
    found = trained(perturbed)
    assert all(one != other for one, other in zip(found, losses, strict=True))

    # Weights are selected on unperturbed features, before the first training step.
    chosen, also = unperturbed.method.delta(), perturbed.method.delta()
    assert (chosen is None) == (also is None)
    for key, (index, _) in (chosen or {}).items():
        assert torch.equal(index, (also or {})[key][0])

    # In evaluation, the model computes the same as without the perturbation.
    bare = trainer(name)
    bare.segmenter.load_state_dict(perturbed.segmenter.state_dict())
    assert torch.equal(logits(bare.segmenter.eval()), logits(perturbed.segmenter))


@pytest.mark.parametrize("name", METHODS)
def test_a_perturbed_run_resumes_bit_identically(name: str, tmp_path: Path) -> None:
    def stop(progress: Progress, losses: dict[str, float]) -> None:
        if progress.place == 4:
            raise KeyboardInterrupt

    uninterrupted, interrupted, resumed = (trainer(name, perturbation(probability=0.7)) for _ in range(3))
    trained(uninterrupted)
    with pytest.raises(KeyboardInterrupt):
        interrupted.run(lambda step: {}, tmp_path / "checkpoint", "key", stop)
    torch.rand(5)
    resumed.run(lambda step: {}, tmp_path / "checkpoint", "key")
    assert not same(state(interrupted), state(uninterrupted)) or EXPECTED[name] == Expected()
    assert same(state(resumed), state(uninterrupted))


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "dinov2") for name in METHODS), *((name, "sam") for name in METHODS)]
)
def test_detaching_a_method_removes_its_perturbation(name: str, kind: str) -> None:
    segmenter = Segmenter(tiny_backbone(kind), Head()).eval()
    start, made = logits(segmenter), _without_dropout(name)
    modules = [key for key, _ in segmenter.named_modules()]
    made.attach(segmenter.backbone, torch_rng(0, "method"))
    attached = logits(segmenter)
    parameters = [key for key, _ in segmenter.named_parameters()]
    perturbation(place=1).join(made)
    assert [key for key, _ in segmenter.named_parameters()] == parameters, "the perturbation has no parameters"
    assert torch.equal(logits(segmenter), attached)
    made.train_mode()
    assert not torch.allclose(logits(segmenter), attached)
    made.detach()
    assert [key for key, _ in segmenter.named_modules()] == modules
    assert torch.equal(logits(segmenter), start)


def _without_dropout(name: str) -> Method:
    fields = registry.find("method", name).Settings.model_fields
    return method(name, **{key: 0.0 for key in ("dropout",) if key in fields})


@pytest.mark.parametrize(("place", "prefix"), [("embedding", 0), (1, 1)])  # prefix: the class token
def test_perturbed_features_have_the_statistics_of_eq_6(place: str | int, prefix: int) -> None:
    made, seen = method("freeze"), list[Tensor]()
    vit = tiny_backbone("dinov2")
    made.attach(vit, torch_rng(0, "method"))
    module = vit.vit.patch_embed if place == "embedding" else vit.blocks[1]
    module.register_forward_hook(lambda _, args, output: seen.append(output))
    perturbation(place=place).join(made)
    module.register_forward_hook(lambda _, args, output: seen.append(output))
    made.train_mode()
    torch.manual_seed(5)
    vit(OneBatch(batch=4).images)
    torch.manual_seed(5)
    torch.rand(())
    noise = torch.randn(2, 4, 1, DIM)
    before, after = (output.detach().reshape(4, -1, DIM) for output in seen)
    torch.testing.assert_close(after[:, prefix:], restyle(before[:, prefix:], noise[0], noise[1]))
    assert torch.equal(after[:, :prefix], before[:, :prefix])


def test_place_and_probability_change_the_training(plain: Plain) -> None:
    """With Freeze, the loss of an iteration shows whether it was perturbed."""
    _, never = plain("freeze")
    always, later = (trained(trainer("freeze", perturbation(place=place))) for place in ("embedding", 0))
    assert always[0] != pytest.approx(later[0], rel=1e-6)
    half = trained(trainer("freeze", perturbation(probability=0.5)))
    draws = []
    for step in range(ITERATIONS):
        torch.manual_seed(derive_seed(0, "model", step, 0))
        draws.append(torch.rand(()).item())
    assert 0 < sum(draw < 0.5 for draw in draws) < ITERATIONS
    wanted = [one if draw < 0.5 else other for draw, one, other in zip(draws, always, never, strict=True)]
    assert half == pytest.approx(wanted, rel=1e-6)


def test_the_common_warm_up_is_not_perturbed() -> None:
    found = [trained(trainer("lora", carried, warmup=2)) for carried in (None, perturbation())]
    assert [one == other for one, other in zip(*found, strict=True)] == [True] * 2 + [False] * 4


def test_a_batch_of_one_and_an_unused_position_are_refused() -> None:
    with pytest.raises(UserError, match=r"perturbation: .*batch >= 2"):
        trained(trainer("lora", perturbation(), batch=1))
    with pytest.raises(UserError, match=r"perturbation: place=3 .*block 2\b"):
        trainer("lora", perturbation(place=3))
