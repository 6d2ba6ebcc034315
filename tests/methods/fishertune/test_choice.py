"""Selected weights and their ranks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmark.method import Candidate, candidates
from methods.fishertune.choice import Choice, quotas
from tests.methods.fishertune.small_runs import build


def scored(seed: int = 0) -> tuple[list[Candidate], list[Tensor]]:
    found = candidates(build().backbone)
    generator = torch.Generator().manual_seed(seed)
    # A coarse grid, so that many scores are equal.
    return found, [torch.rand(c.share(c.parameter).shape, generator=generator).mul(50).floor() for c in found]


def choose(found: list[Candidate], scores: list[Tensor], k: int, ranking: str) -> Choice:
    return Choice.best(found, {str(number): score for number, score in enumerate(scores)}, k, ranking)


def test_the_best_weights_come_first_and_none_is_dropped() -> None:
    found, scores = scored()
    choice = choose(found, scores, 700, "global")
    before: dict[str, Tensor] = {}
    for count in (0, 1, 99, 350, 700):
        masks = choice.masks(count)
        assert sum(int(mask.sum()) for mask in masks.values()) == count
        assert all(bool((mask >= before[name]).all()) for name, mask in masks.items() if before)
        inside = [s[c.share(masks[c.name])] for c, s in zip(found, scores, strict=True)]
        outside = [s[~c.share(masks[c.name])] for c, s in zip(found, scores, strict=True)]
        if count:
            assert torch.cat(inside).min() >= torch.cat(outside).max()
        before = masks


def test_ties_are_broken_by_position() -> None:
    found = candidates(build().backbone)
    choice = choose(found, [torch.zeros(c.share(c.parameter).shape) for c in found], 100, "global")
    mask = choice.masks(40)[found[0].name]
    assert mask.flatten().nonzero().flatten().tolist() == list(range(40))


def test_per_tensor_selects_the_same_fraction_of_every_candidate() -> None:
    found, scores = scored()
    scores[0] += 1000
    shared, own = (choose(found, scores, 1000, ranking) for ranking in ("global", "per-tensor"))
    assert len(shared.places[0]) == found[0].numel()
    for candidate, place in zip(found, own.places, strict=True):
        assert len(place) == pytest.approx(1000 * candidate.numel() / 12_672, abs=1)
    assert sum(len(place) for place in own.places) == 1000


def test_quotas_are_integers_and_add_up() -> None:
    assert quotas([10, 10, 10], 10) == [3, 3, 4]
    assert quotas([1, 1000], 1000) == [0, 1000]


def test_overlap_is_the_common_fraction() -> None:
    found, scores = scored()
    choice = choose(found, scores, 600, "global")
    assert choice.overlap(choice) == 1
    other = choose(found, scored(1)[1], 600, "global")
    mine, theirs = choice.masks(600), other.masks(600)
    common = sum(int((mine[name] & theirs[name]).sum()) for name in mine)
    assert choice.overlap(other) == pytest.approx(common / 600)


def test_counts_are_per_group_and_block() -> None:
    found, scores = scored()
    counts = choose(found, scores, 900, "global").counts()
    assert set(counts) == {"q", "k", "v", "ffn"}
    assert all(len(blocks) == 2 for blocks in counts.values())
    assert sum(map(sum, counts.values())) == 900


def test_a_restored_selection_is_the_same() -> None:
    found, scores = scored()
    choice = choose(found, scores, 300, "global")
    again = Choice.restored(found, choice.state_dict())
    for count in (50, 300):
        for name, mask in choice.masks(count).items():
            assert torch.equal(mask, again.masks(count)[name])


def test_two_random_selections_overlap_by_the_selected_fraction() -> None:
    found = candidates(build().backbone)
    size = sum(candidate.numel() for candidate in found)
    generator = torch.Generator().manual_seed(0)
    one, other = (
        choose(found, [torch.rand(c.share(c.parameter).shape, generator=generator) for c in found], k, "global")
        for k in (size // 20, size // 20)
    )
    assert one.overlap(other) == pytest.approx(1 / 20, abs=3 * (1 / 20 / (size / 20)) ** 0.5)
