"""GPS: the selection against an explicit loop, what is never touched, two ranks, and resumption."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from baselines.gps import GPS, largest_per_row
from benchmark.common.errors import UserError
from benchmark.common.rng import torch_rng
from benchmark.method import Budget, EstimationBatch, Phase
from benchmark.models.backbone import Backbone
from benchmark.parameters.counting import count
from tests.backbones import tiny_backbone
from tests.baselines.numerics import attach
from tests.baselines.test_childtune_d import batches, square_loss
from tests.ranks import on_two_ranks

STEPS = len(batches())


def feed(made: GPS, backbone: Backbone, steps: range, part: slice = slice(None)) -> None:
    for step in steps:
        x, y = (each[part] for each in batches()[step])
        rng = torch_rng(0, "estimation", step)
        made.observe_batch(EstimationBatch(x, y, lambda z: z, square_loss(backbone), rng, step, STEPS))


def masks_of(made: GPS, backbone: Backbone) -> dict[str, Tensor]:
    optimizer = made.optimizer((0.9, 0.999), 1e-8)
    made.select()
    return {name: optimizer.selected(parameter) for name, parameter in backbone.named_parameters()}


def expected_masks(kind: str, neurons: int) -> dict[str, Tensor]:
    """Return the selection found neuron by neuron from gradients accumulated by backward passes."""
    reference = tiny_backbone(kind).eval()
    for x, y in batches():
        square_loss(reference)(x, y).backward()
    norms = {n for n, m in reference.named_modules() if isinstance(m, torch.nn.LayerNorm)}
    masks = {}
    for name, parameter in reference.named_parameters():
        mask = torch.zeros_like(parameter, dtype=torch.bool)
        owner, _, kind_of = name.rpartition(".")
        layer = reference.get_submodule(owner)
        if owner in norms:
            pass
        elif isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)) and kind_of == "weight":
            assert parameter.grad is not None
            for row, gradient in enumerate(parameter.grad):
                ranked = sorted(range(gradient.numel()), key=lambda i: -abs(gradient.flatten()[i].item()))
                mask[row].view(-1)[ranked[:neurons]] = True
        elif kind_of in {"bias", "q_bias", "v_bias", "gamma", "gamma_1", "gamma_2"}:
            mask[:] = True
        masks[name] = mask
    return masks


@pytest.mark.parametrize(
    ("kind", "neurons"), [("dinov2", 1), ("dinov2", 3), ("eva02", 1), ("eva02-fused", 1), ("dinov3", 2), ("sam", 1)]
)
def test_it_selects_what_an_explicit_loop_selects(kind: str, neurons: int) -> None:
    backbone = tiny_backbone(kind)
    made = attach(GPS(GPS.Settings(per_neuron=neurons)), backbone)
    feed(made, backbone, range(STEPS))
    found, wanted = masks_of(made, backbone), expected_masks(kind, neurons)
    assert list(found) == list(wanted)
    for name, mask in found.items():
        assert mask.sum() == wanted[name].sum(), name
        if name.endswith(".weight") and mask.any():
            assert (mask.flatten(1).sum(1) == neurons).all(), name
    total = sum(mask.numel() for mask in found.values())
    differ = sum(int((mask != wanted[name]).sum()) for name, mask in found.items())
    assert differ <= 1e-4 * total  # near ties that rounding decides
    assert sum(int(mask.sum()) for mask in found.values()) == made.trainable()


def test_gradients_are_added_before_their_absolute_value_is_taken() -> None:
    backbone = tiny_backbone("plain")
    made = attach(GPS(), backbone)
    name = next(iter(made._matrices))
    one, other = (torch.zeros_like(made._matrices[name]) for _ in range(2))
    one[:, 0, 0, 0], other[:, 0, 0, 0] = 5.0, -5.0
    one[:, 1, 0, 0] = -1.0
    made._sums = {key: torch.ones_like(p) for key, p in made._matrices.items()} | {name: one + other}
    mask = masks_of(made, backbone)[name]
    assert mask[:, 1, 0, 0].all()
    assert mask.sum() == len(mask)


def test_more_connections_than_there_are_select_all() -> None:
    values = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0))
    assert largest_per_row(values, 9).all()
    assert torch.equal(largest_per_row(values, 1).flatten(1).int().argmax(1), values.flatten(1).abs().argmax(1))


@pytest.mark.parametrize(("neurons", "number"), [(1, 493_568), (2, 493_568 + 222_208)])
def test_its_size_on_dinov2_l(neurons: int, number: int) -> None:
    assert count(GPS(GPS.Settings(per_neuron=neurons)), "dinov2-l") == number


def test_the_estimate_comes_on_top_of_the_iterations() -> None:
    estimate = Phase("estimate", 4, backbone=False, decoder=False, estimate=True, extra=True)
    made = GPS(GPS.Settings(images=30))
    assert made.phases(Budget(90, 10, 8)) == (estimate, Phase("tune", 90))
    decoder = Phase("decoder", 9, backbone=False, extra=True)
    assert made.phases(Budget(90, 0, 8)) == (decoder, estimate, Phase("tune", 90))


def test_a_loss_that_does_not_depend_on_the_backbone_is_refused() -> None:
    backbone = tiny_backbone("plain")
    made = attach(GPS(), backbone)
    x, y = batches()[0]
    loss = lambda images, labels: 0 * square_loss(backbone)(images, labels)  # noqa: E731
    made.observe_batch(EstimationBatch(x, y, lambda z: z, loss, torch_rng(0, "estimation"), 0, 1))
    made.optimizer((0.9, 0.999), 1e-8)
    with pytest.raises(UserError, match=r"gps: all gradients were 0 .*decoder\.warmup"):
        made.select()


def test_it_resumes_within_its_estimation_phase() -> None:
    backbone = tiny_backbone("plain")
    whole = attach(GPS(), backbone)
    feed(whole, backbone, range(2))
    resumed = attach(GPS(), backbone)
    resumed.load_state_dict(whole.state_dict())
    for made in (resumed, whole):
        feed(made, backbone, range(2, STEPS))
    first, second = masks_of(whole, backbone), masks_of(resumed, backbone)
    assert all(torch.equal(first[name], second[name]) for name in first)


def two_processes(rank: int, meeting: str, results: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    backbone = tiny_backbone("plain")
    made = attach(GPS(), backbone)
    feed(made, backbone, range(STEPS), slice(2 * rank, 2 * rank + 2))
    torch.save(made.state_dict()["sums"], f"{results}{rank}.pt")
    torch.distributed.destroy_process_group()


def test_its_sums_are_the_same_on_one_rank_and_on_two(tmp_path: Path) -> None:
    on_two_ranks(two_processes, str(tmp_path / "meeting"), str(tmp_path / "sums"))
    backbone = tiny_backbone("plain")
    made = attach(GPS(), backbone)
    feed(made, backbone, range(STEPS))
    first, second = (torch.load(tmp_path / f"sums{rank}.pt", weights_only=True) for rank in range(2))
    for name, total in made.state_dict()["sums"].items():
        assert torch.equal(first[name], second[name]), "all ranks must select the same weights"
        assert torch.allclose(first[name], total, rtol=1e-3, atol=1e-5)
