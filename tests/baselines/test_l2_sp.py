"""L2-SP: its penalty and gradient in closed form, and where the weights decay to without a data loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from baselines.l2_sp import L2SP
from benchmark.common.rng import torch_rng
from benchmark.method import Decoding
from benchmark.models.backbone import Backbone
from benchmark.models.segmenter import Segmenter
from benchmark.training.progress import Progress
from benchmark.training.trainer import Trainer
from tests.backbones import tiny_backbone
from tests.baselines.reference import attached
from tests.small import Head, OneBatch, protocol


def penalty(made: L2SP) -> Tensor:
    return made.losses(Decoding(lambda features: features[0], torch_rng(0, "test"), 0, 1))["l2_sp"]


def displaced(kind: str = "dinov2", **settings: Any) -> tuple[L2SP, Backbone, dict[str, Tensor]]:
    """Return the method on a backbone with noise added to its weights, and the weights before."""
    made = L2SP(L2SP.Settings(**settings))
    backbone = attached(made, kind)
    before = {name: parameter.detach().clone() for name, parameter in backbone.named_parameters()}
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return made, backbone, before


@pytest.mark.parametrize("kind", ["plain", "eva02", "sam"])
@pytest.mark.parametrize("strength", [0.1, 0.7])
def test_value_and_gradient_are_those_of_the_closed_form(kind: str, strength: float) -> None:
    made, backbone, before = displaced(kind, strength=strength)
    found = penalty(made)
    found.backward()
    total = sum(float((p.detach() - before[name]).pow(2).sum()) for name, p in backbone.named_parameters())
    assert found.item() == pytest.approx(strength / 2 * total, rel=1e-12)
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, strength * (parameter.detach() - before[name]), rtol=1e-12, atol=0), name


def test_the_pre_trained_weights_have_no_penalty_and_unmoved_weights_no_gradient() -> None:
    made = L2SP()
    backbone = attached(made, "dinov2")
    assert penalty(made).item() == 0
    assert not penalty(made).requires_grad
    with torch.no_grad():
        dict(backbone.named_parameters())["vit.blocks.0.norm1.weight"].add_(1)
    penalty(made).backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is not None] == ["vit.blocks.0.norm1.weight"]


def test_without_a_data_loss_the_weights_decay_towards_the_pre_trained_ones() -> None:
    """With SGD the distance shrinks by 1 - lr α per step."""
    made, backbone, before = displaced(strength=0.5)
    start = {name: parameter.detach() - before[name] for name, parameter in backbone.named_parameters()}
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.2)
    for _ in range(30):
        optimizer.zero_grad()
        penalty(made).backward()
        optimizer.step()
    for name, parameter in backbone.named_parameters():
        assert torch.allclose(parameter.detach() - before[name], 0.9**30 * start[name], rtol=1e-9, atol=1e-12), name


def test_its_own_optimizer_does_not_decay_towards_zero() -> None:
    made, backbone, before = displaced(lr=0.05)
    groups = made.parameter_groups()
    assert [group["weight_decay"] for group in groups] == [0.0, 0.0]
    optimizer = torch.optim.AdamW(groups)
    for _ in range(300):
        optimizer.zero_grad()
        penalty(made).backward()
        optimizer.step()
    for name, parameter in backbone.named_parameters():
        assert torch.allclose(parameter.detach(), before[name], atol=1e-2), name


def trainer(**settings: Any) -> Trainer:
    segmenter = Segmenter(tiny_backbone("dinov2"), Head())
    made = L2SP(L2SP.Settings(lr=1e-3, **settings))
    return Trainer(protocol(6, 2), 0, segmenter, made, OneBatch(), Accelerator(cpu=True))


def distance(run: Trainer) -> float:
    start = dict(tiny_backbone("dinov2").named_parameters())
    squares = [(p - start[name]).square().sum() for name, p in run.segmenter.backbone.named_parameters()]
    return torch.stack(squares).sum().sqrt().item()


def test_a_stronger_penalty_ends_nearer_to_the_pre_trained_weights() -> None:
    ends = []
    for strength in (0.0, 0.1, 10.0):
        run = trainer(strength=strength)
        run.run(lambda step: {})
        ends.append(distance(run))
    assert ends[0] > ends[1] > 1.5 * ends[2] > 0


def test_the_pre_trained_values_survive_a_resume_and_are_not_in_the_checkpoint(tmp_path: Path) -> None:
    """A checkpoint is loaded after attach(), so the penalty still refers to the pre-trained weights."""

    def stop(progress: Progress, losses: dict[str, float]) -> None:
        if progress.place == 3:
            raise KeyboardInterrupt

    straight, broken, resumed = (trainer() for _ in range(3))
    straight.run(lambda step: {})
    with pytest.raises(KeyboardInterrupt):
        broken.run(lambda step: {}, tmp_path / "checkpoint", "key", stop)
    state = broken.method.state_dict()
    assert state == {}
    losses: list[dict[str, float]] = []
    resumed.run(lambda step: {}, tmp_path / "checkpoint", "key", lambda progress, named: losses.append(named))
    assert all(0 < named["l2_sp"] < distance(resumed) ** 2 for named in losses)
    for one, other in zip(straight.segmenter.parameters(), resumed.segmenter.parameters(), strict=True):
        assert torch.equal(one, other)
