"""ChildTuning-D: compared with an explicit loop, on two ranks, and resumed within its estimation phase."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from baselines.childtune_d import ChildTuneD
from benchmark.common.errors import UserError
from benchmark.common.rng import torch_rng
from benchmark.method import Budget, EstimationBatch, Phase
from benchmark.models.backbone import Backbone
from methods.fishertune import FisherTune
from tests.backbones import tiny_backbone
from tests.baselines.numerics import attach
from tests.ranks import on_two_ranks


def square_loss(backbone: Backbone) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, y: sum((f.mean((2, 3)) - y[:, None]).square().mean() for f in backbone(x))


def batches() -> list[tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(4)
    return [(torch.randn(4, 3, 32, 32, generator=rng), 9 * torch.rand(4, generator=rng)) for _ in range(4)]


def feed(made: ChildTuneD, backbone: Backbone, steps: range) -> None:
    for step in steps:
        x, y = batches()[step]
        loss = square_loss(backbone)
        made.observe_batch(EstimationBatch(x, y, lambda z: z, loss, torch_rng(0, "estimation", step), step, 4))


def masks_of(made: ChildTuneD, backbone: Backbone) -> dict[str, Tensor]:
    optimizer = made.optimizer((0.9, 0.999), 1e-8)
    made.select()
    return {name: optimizer.selected(p) for name, p in backbone.named_parameters() if "blocks" in name}


@pytest.mark.parametrize("clip", [1.0, 1e9])
def test_childtune_selects_what_an_explicit_loop_selects(clip: float) -> None:
    backbone, reference = tiny_backbone("dinov2"), tiny_backbone("dinov2").eval()
    made = attach(ChildTuneD(ChildTuneD.Settings(clip=clip)), backbone)
    feed(made, backbone, range(4))
    masks = masks_of(made, backbone)
    inside = {name: p for name, p in reference.named_parameters() if "blocks" in name}
    scores = {name: torch.zeros_like(p) for name, p in inside.items()}
    for x, y in batches():
        reference.zero_grad()
        square_loss(reference)(x, y).backward()
        for name, parameter in inside.items():
            clip_grad_norm_([parameter], clip)
            assert parameter.grad is not None
            scores[name] += parameter.grad**2 / 4
    threshold = torch.cat([s.flatten() for s in scores.values()]).sort(descending=True).values
    limit = threshold[made.trainable() - 1]
    assert sum(int(m.sum()) for m in masks.values()) == made.trainable()
    agree = sum(int((masks[name] == (scores[name] >= limit)).sum()) for name in scores)
    assert agree >= sum(m.numel() for m in masks.values()) - 4  # ties in the last digit at the threshold


def test_clipping_gradients_changes_the_selection() -> None:
    both = []
    for clip in (0.01, 1e9):
        backbone = tiny_backbone("dinov2")
        made = attach(ChildTuneD(ChildTuneD.Settings(clip=clip)), backbone)
        feed(made, backbone, range(4))
        both.append(masks_of(made, backbone))
    assert any(not torch.equal(both[0][name], both[1][name]) for name in both[0])


def test_childtune_resumes_within_its_estimation_phase() -> None:
    backbone = tiny_backbone("plain")
    whole = attach(ChildTuneD(), backbone)
    feed(whole, backbone, range(2))
    state = whole.state_dict()
    resumed = attach(ChildTuneD(), backbone)
    resumed.load_state_dict(state)
    feed(resumed, backbone, range(2, 4))
    feed(whole, backbone, range(2, 4))
    first, second = masks_of(whole, backbone), masks_of(resumed, backbone)
    assert all(torch.equal(first[name], second[name]) for name in first)


def two_processes(rank: int, meeting: str, results: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    backbone = tiny_backbone("plain")
    made = attach(ChildTuneD(), backbone)
    for step, (x, y) in enumerate(batches()):
        half = slice(2 * rank, 2 * rank + 2)
        rng = torch_rng(0, "estimation", step)
        made.observe_batch(EstimationBatch(x[half], y[half], lambda z: z, square_loss(backbone), rng, step, 4))
    torch.save(made.state_dict()["scores"], f"{results}{rank}.pt")
    torch.distributed.destroy_process_group()


def test_childtune_has_the_same_scores_on_one_rank_and_on_two(tmp_path: Path) -> None:
    on_two_ranks(two_processes, str(tmp_path / "meeting"), str(tmp_path / "scores"))
    backbone = tiny_backbone("plain")
    made = attach(ChildTuneD(), backbone)
    feed(made, backbone, range(4))
    first, second = (torch.load(tmp_path / f"scores{rank}.pt", weights_only=True) for rank in range(2))
    for name, score in made.state_dict()["scores"].items():
        assert torch.equal(first[name], second[name]), "all ranks must select the same weights"
        assert torch.allclose(first[name], score, rtol=1e-3, atol=1e-9)


def test_childtune_trains_for_all_iterations_unless_its_budget_is_shared() -> None:
    estimate = Phase("estimate", 32, backbone=False, decoder=False, estimate=True, extra=True)
    assert ChildTuneD().phases(Budget(400, 1, 8)) == (estimate, Phase("tune", 400))
    shared = ChildTuneD(ChildTuneD.Settings(budget="shared", estimation=0.25))
    taken = Phase("estimate", 100, backbone=False, decoder=False, estimate=True)
    assert shared.phases(Budget(400, 1, 8)) == (taken, Phase("tune", 300))
    assert [phase.iterations for phase in shared.phases(Budget(2, 1, 8))] == [1, 1]


@pytest.mark.parametrize("budget", ["own", "shared"])
def test_an_untrained_decoder_trains_before_the_estimation_phase(budget: Literal["own", "shared"]) -> None:
    """As long as in FisherTune; a protocol with a decoder warm-up gets no additional phase."""
    made = ChildTuneD(ChildTuneD.Settings(budget=budget))
    decoder, *others = made.phases(Budget(40000, 0, 8))
    assert decoder == Phase("decoder", 4000, backbone=False, extra=budget == "own")
    assert decoder == FisherTune(FisherTune.Settings(budget=budget)).phases(Budget(40000, 0, 8))[0]
    never = ChildTuneD(ChildTuneD.Settings(budget=budget, decoder_first=0))
    assert [phase.name for phase in others] == ["estimate", "tune"]
    assert made.phases(Budget(270, 30, 8)) == never.phases(Budget(270, 0, 8))


def test_a_shared_budget_with_too_few_iterations_is_refused() -> None:
    with pytest.raises(UserError, match=r"childtune-d: 2 iterations .*\(1\).*at least 3"):
        ChildTuneD(ChildTuneD.Settings(budget="shared")).phases(Budget(2, 0, 8))
