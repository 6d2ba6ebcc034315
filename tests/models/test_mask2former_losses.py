"""Mask2Former's losses: against plain Python in float64 at the same points, and without labels."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from torch import Tensor

from benchmark.common.rng import derive_seed
from benchmark.models.mask2former import LOSSES
from tests.models.mask2former import CLASSES, POINTS, QUERIES, drawn, images, labelled, model, sigmoid, small, value_at


def bce(logit: float, target: float) -> float:
    return -target * math.log(sigmoid(logit)) - (1 - target) * math.log(1 - sigmoid(logit))


def cross_entropy(logits: list[float], target: list[float]) -> float:
    return sum(bce(x, t) for x, t in zip(logits, target, strict=True)) / len(logits)


def dice(logits: list[float], target: list[float]) -> float:
    predicted = [sigmoid(x) for x in logits]
    both = sum(p * t for p, t in zip(predicted, target, strict=True))
    return 1 - (2 * both + 1) / (sum(predicted) + sum(target) + 1)


def best(cost: list[list[float]], count: int) -> tuple[int, ...]:
    """Return the query of each of ``count`` targets, by brute force over all assignments."""
    choices = permutations(range(len(cost)), count)
    return min(choices, key=lambda chosen: sum(cost[query][target] for target, query in enumerate(chosen)))


def expected(classes: Tensor, masks: Tensor, labels: Tensor, rngs: list[torch.Generator]) -> dict[str, float]:
    """Return the three losses of one layer's predictions, in plain Python at the same points."""
    truth: dict[tuple[int, int], int] = {}
    probabilities = classes.double().softmax(-1).tolist()
    mask = overlap = 0.0
    pairs = 0
    for image, (label, rng) in enumerate(zip(labels, rngs, strict=True)):
        matched: list[tuple[list[list[float]], list[list[float]]]] = []
        present = sorted(set(label.flatten().tolist()) - {255})
        aims = [(label == c).double().tolist() for c in present]
        at = torch.rand(1, POINTS, 2, generator=rng)[0].tolist()
        cost = [[0.0] * len(present) for _ in range(QUERIES)]
        for query, field in enumerate(masks[image].double().tolist()):
            logits = [value_at(field, u, v) for u, v in at]
            for index, c in enumerate(present):
                target = [value_at(aims[index], u, v) for u, v in at]
                cost[query][index] = (
                    -2 * probabilities[image][query][c] + 5 * cross_entropy(logits, target) + 5 * dice(logits, target)
                )
        chosen = best(cost, len(present))
        for query in sorted(chosen):  # in the order of the matched pairs
            index = chosen.index(query)
            truth[image, query] = present[index]
            matched.append((masks[image, query].double().tolist(), aims[index]))
        pairs += len(matched)
        many = torch.rand(len(matched), 3 * POINTS, 2, generator=rng).tolist()
        few = torch.rand(len(matched), POINTS - int(0.75 * POINTS), 2, generator=rng).tolist()
        for (field, aim), offered, rest in zip(matched, many, few, strict=True):
            unsure = sorted(offered, key=lambda place: abs(value_at(field, *place)))[: int(0.75 * POINTS)]
            places = unsure + rest
            logits, target = ([value_at(f, *place) for place in places] for f in (field, aim))
            mask += cross_entropy(logits, target)
            overlap += dice(logits, target)
    total = weight = 0.0
    for image in range(len(labels)):
        for query in range(QUERIES):
            c = truth.get((image, query), CLASSES)
            w = 0.1 if c == CLASSES else 1.0
            total -= w * math.log(probabilities[image][query][c])
            weight += w
    return {"cls": 2 * total / weight, "mask": 5 * mask / pairs, "dice": 5 * overlap / pairs}


def test_losses_equal_plain_python_at_the_same_points() -> None:
    labels = torch.full((2, 8, 12), 255)
    labels[0, :4], labels[0, 4:, :6], labels[0, 4:, 6:10] = 0, 1, 2
    labels[1, 2:, 3:] = 2
    layers = [(2 * drawn(2, QUERIES, CLASSES + 1, seed=s), 3 * drawn(2, QUERIES, 4, 6, seed=10 + s)) for s in range(3)]
    torch.manual_seed(11)
    found = small().compare(layers, labels)
    rngs = [torch.Generator().manual_seed(derive_seed(11, "points", image)) for image in range(2)]
    parts = [expected(*layer, labels, rngs) for layer in (layers[-1], *layers[:-1])]
    assert set(found) == set(LOSSES)
    for name, value in found.items():
        assert value.item() == pytest.approx(sum(part[name] for part in parts), rel=1e-5), name


def test_only_the_matched_query_gets_gradients_for_its_mask() -> None:
    """One class covers the image and only query 3 predicts it, so query 3 is matched for any points."""
    classes, masks = torch.zeros(1, QUERIES, CLASSES + 1), torch.full((1, QUERIES, 4, 4), -3.0)
    classes[0, 3, 1], masks[0, 3] = 2.0, 3.0
    masks.requires_grad_(True)
    losses = small().compare([(classes, masks)], torch.ones(1, 8, 8, dtype=torch.long))
    matched, other = -math.log(math.exp(2) / (math.exp(2) + 3)), math.log(4)
    assert losses["cls"].item() == pytest.approx(2 * (matched + 0.1 * 4 * other) / (1 + 0.1 * 4))
    (losses["mask"] + losses["dice"]).backward()
    assert masks.grad is not None
    assert masks.grad.flatten(2).any(-1).tolist() == [[False, False, False, True, False]]


def test_points_depend_on_the_seed_and_not_on_later_draws() -> None:
    decoder, labels = small(), labelled(1, 8, 8)
    layers = [(drawn(1, QUERIES, CLASSES + 1), drawn(1, QUERIES, 4, 4))]

    def losses(seed: int, draws: int) -> dict[str, float]:
        torch.manual_seed(seed)
        torch.rand(draws)
        state = torch.get_rng_state()
        found = {name: value.item() for name, value in decoder.compare(layers, labels).items()}
        assert torch.equal(torch.get_rng_state(), state)
        return found

    assert losses(0, 0) == losses(0, 7)
    assert losses(0, 0)["mask"] != losses(1, 0)["mask"]


@pytest.mark.parametrize("unlabelled", [[0], [0, 1]])
def test_an_image_without_labels_gives_finite_losses_and_gradients(unlabelled: list[int]) -> None:
    segmenter, labels = model().train(), labelled(2, 32, 32)
    labels[unlabelled] = 255
    losses = segmenter.losses(images(2, 3, 32, 32), labels)
    torch.stack(list(losses.values())).sum().backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert losses["cls"] > 0
    assert (losses["mask"] == 0) == (len(unlabelled) == 2)
    gradients = [p.grad for p in segmenter.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_class_weights_are_an_error() -> None:
    with pytest.raises(ValueError, match="class weights"):
        small().losses([], torch.zeros(1, 8, 8, dtype=torch.long), torch.ones(CLASSES))
