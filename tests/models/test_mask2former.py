"""Mask2Former: losses and semantic map against plain float64, gradients, sizes, parameters."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.errors import UserError
from benchmark.models.decoders import LightDecoder, build_decoder
from benchmark.models.mask2former import LOSSES, Mask2Former, log_shares, pyramid, semantic
from benchmark.models.segmenter import Segmenter
from benchmark.models.weights import weight_hash
from benchmark.protocol import DecoderSpec
from benchmark.streams import number
from tests.backbones import tiny_backbone

SPEC = DecoderSpec(name="mask2former", lr=1e-4)
QUERIES, CLASSES, POINTS = 5, 3, 16


def small(queries: int = QUERIES, classes: int = CLASSES, points: int = POINTS) -> Mask2Former:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Mask2Former(48, classes, queries, encoder_layers=1, decoder_layers=2, points=points)


def model(kind: str = "dinov2") -> Segmenter:
    return Segmenter(tiny_backbone(kind, depth=4), small())


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 255


def labelled(batch: int, height: int, width: int) -> Tensor:
    rows = torch.arange(height)[:, None] * CLASSES // height
    label = rows.expand(batch, height, width).clone()
    label[..., :1] = 255
    return label


# -- losses ----------------------------------------------------------------------------------------------------


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def value_at(field: list[list[float]], u: float, v: float) -> float:
    """Bilinear, pixel centres at halves, zero outside; u, v in 0..1 along width and height."""
    height, width = len(field), len(field[0])
    x, y = u * width - 0.5, v * height - 0.5
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                total += field[row][column] * (1 - abs(x - column)) * (1 - abs(y - row))
    return total


def bce(logit: float, target: float) -> float:
    return -target * math.log(sigmoid(logit)) - (1 - target) * math.log(1 - sigmoid(logit))


def cross_entropy(logits: list[float], target: list[float]) -> float:
    return sum(bce(x, t) for x, t in zip(logits, target, strict=True)) / len(logits)


def dice(logits: list[float], target: list[float]) -> float:
    share = [sigmoid(x) for x in logits]
    both = sum(p * t for p, t in zip(share, target, strict=True))
    return 1 - (2 * both + 1) / (sum(share) + sum(target) + 1)


def best(cost: list[list[float]], count: int) -> tuple[int, ...]:
    """Which query each of ``count`` targets gets, by trying all assignments."""
    choices = permutations(range(len(cost)), count)
    return min(choices, key=lambda chosen: sum(cost[query][target] for target, query in enumerate(chosen)))


def expected(classes: Tensor, masks: Tensor, labels: Tensor, chances: list[torch.Generator]) -> dict[str, float]:
    """The three losses of one layer's predictions, in plain Python, from the same points."""
    truth: dict[tuple[int, int], int] = {}
    said = classes.double().softmax(-1).tolist()
    mask = overlap = 0.0
    pairs = 0
    for image, (label, chance) in enumerate(zip(labels, chances, strict=True)):
        matched: list[tuple[list[list[float]], list[list[float]]]] = []
        present = sorted(set(label.flatten().tolist()) - {255})
        aims = [(label == c).double().tolist() for c in present]
        at = torch.rand(1, POINTS, 2, generator=chance)[0].tolist()
        cost = [[0.0] * len(present) for _ in range(QUERIES)]
        for query, field in enumerate(masks[image].double().tolist()):
            logits = [value_at(field, u, v) for u, v in at]
            for index, c in enumerate(present):
                target = [value_at(aims[index], u, v) for u, v in at]
                cost[query][index] = (
                    -2 * said[image][query][c] + 5 * cross_entropy(logits, target) + 5 * dice(logits, target)
                )
        chosen = best(cost, len(present))
        for query in sorted(chosen):  # as they stand in the batch of matched pairs
            index = chosen.index(query)
            truth[image, query] = present[index]
            matched.append((masks[image, query].double().tolist(), aims[index]))
        pairs += len(matched)
        many = torch.rand(len(matched), 3 * POINTS, 2, generator=chance).tolist()
        few = torch.rand(len(matched), POINTS - int(0.75 * POINTS), 2, generator=chance).tolist()
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
            total -= w * math.log(said[image][query][c])
            weight += w
    return {"cls": 2 * total / weight, "mask": 5 * mask / pairs, "dice": 5 * overlap / pairs}


def test_losses_equal_plain_python_at_the_same_points() -> None:
    labels = torch.full((2, 8, 12), 255)
    labels[0, :4], labels[0, 4:, :6], labels[0, 4:, 6:10] = 0, 1, 2
    labels[1, 2:, 3:] = 2
    layers = [(2 * drawn(2, QUERIES, CLASSES + 1, seed=s), 3 * drawn(2, QUERIES, 4, 6, seed=10 + s)) for s in range(3)]
    torch.manual_seed(11)
    found = small().compare(layers, labels)
    chances = [torch.Generator().manual_seed(number(11, "points", image)) for image in range(2)]
    parts = [expected(*layer, labels, chances) for layer in (layers[-1], *layers[:-1])]
    assert set(found) == set(LOSSES)
    for name, value in found.items():
        assert value.item() == pytest.approx(sum(part[name] for part in parts), rel=1e-5), name


def test_an_unmistakable_match_alone_learns_its_mask() -> None:
    """One class over all of the image; only query 3 claims it, so it is matched whatever the points."""
    classes, masks = torch.zeros(1, QUERIES, CLASSES + 1), torch.full((1, QUERIES, 4, 4), -3.0)
    classes[0, 3, 1], masks[0, 3] = 2.0, 3.0
    masks.requires_grad_(True)
    losses = small().compare([(classes, masks)], torch.ones(1, 8, 8, dtype=torch.long))
    matched, other = -math.log(math.exp(2) / (math.exp(2) + 3)), math.log(4)
    assert losses["cls"].item() == pytest.approx(2 * (matched + 0.1 * 4 * other) / (1 + 0.1 * 4))
    (losses["mask"] + losses["dice"]).backward()
    assert masks.grad is not None
    assert masks.grad.flatten(2).any(-1).tolist() == [[False, False, False, True, False]]


def test_points_follow_the_seed_and_nothing_drawn_since() -> None:
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


def test_class_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="weighs no class"):
        small().losses([], torch.zeros(1, 8, 8, dtype=torch.long), torch.ones(CLASSES))


# -- the semantic map ------------------------------------------------------------------------------------------


def test_the_semantic_map_sums_what_queries_say_without_no_object() -> None:
    classes, masks = 2 * drawn(2, QUERIES, CLASSES + 1), 3 * drawn(2, QUERIES, 3, 4)
    found = semantic(classes, masks, (6, 8))
    for image in range(2):
        fields = masks[image].double()
        for y in range(6):
            for x in range(8):
                # enlarged masks repeat their border, where a point outside would be zero
                u = min(max((x + 0.5) / 8, 0.5 / 4), 3.5 / 4)
                v = min(max((y + 0.5) / 6, 0.5 / 3), 2.5 / 3)
                for c in range(CLASSES):
                    total = 0.0
                    for query in range(QUERIES):
                        said = [math.exp(value) for value in classes[image, query].tolist()]
                        share = sigmoid(value_at(fields[query].tolist(), u, v))
                        total += said[c] / sum(said) * share
                    assert found[image, c, y, x].item() == pytest.approx(total, rel=1e-5)


def test_logits_are_the_logarithm_of_shares_and_inference_averages_scores() -> None:
    segmenter = model().eval()
    batch = images(1, 3, 32, 32)
    with torch.no_grad():
        logits, scores = segmenter(batch), segmenter.predict(batch)
    torch.testing.assert_close(logits.softmax(1), scores / scores.sum(1, keepdim=True))
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(1, 32, 32))
    assert torch.equal(logits.argmax(1), scores.argmax(1))
    wide = images(1, 3, 32, 48)
    with torch.no_grad():
        left, right = segmenter.predict(wide[..., :32]), segmenter.predict(wide[..., 16:])
    slid = segmenter.predict(wide, "slide", 32, 16)
    torch.testing.assert_close(slid[..., 16:32], (left[..., 16:] + right[..., :16]) / 2)


def test_shares_of_vanishing_scores_are_finite() -> None:
    scores = torch.tensor([0.0, 1e-30, 3e-30]).view(1, 3, 1, 1).requires_grad_(True)
    logits = log_shares(scores)
    logits.sum().backward()
    assert logits[0, 2].exp().item() == pytest.approx(0.75, rel=1e-4)
    assert torch.isfinite(logits).all()
    assert torch.isfinite(scores.grad).all()  # type: ignore[arg-type]


def test_no_full_size_mask_is_kept_for_a_backward_pass() -> None:
    classes, masks = drawn(3, QUERIES, CLASSES + 1).requires_grad_(True), drawn(3, QUERIES, 4, 4).requires_grad_(True)
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        found = semantic(classes, masks, (64, 64))
    assert max(kept, default=0) < QUERIES * 64 * 64
    found.square().sum().backward()
    assert classes.grad is not None
    assert masks.grad is not None
    kept.clear()
    large = F.interpolate(masks, (64, 64), mode="bilinear").sigmoid()
    plain = torch.einsum("bqc,bqhw->bchw", classes.softmax(-1)[..., :-1], large)
    torch.testing.assert_close(found, plain)
    wanted = torch.autograd.grad(plain.square().sum(), [classes, masks])
    torch.testing.assert_close([classes.grad, masks.grad], list(wanted))


# -- pyramid, sizes --------------------------------------------------------------------------------------------


def test_the_pyramid_has_strides_4_to_32_and_learns_nothing() -> None:
    features = [drawn(2, 6, 8, 10, seed=seed) for seed in range(4)]
    levels = pyramid(features)
    assert [tuple(level.shape[-2:]) for level in levels] == [(32, 40), (16, 20), (8, 10), (4, 5)]
    for level, x, scale in zip(levels, features, (4, 2, 1, 0.5), strict=True):
        wanted = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
        torch.testing.assert_close(level, wanted)
    assert [tuple(level.shape[-2:]) for level in pyramid([drawn(1, 6, 1, 3)] * 4)] == [(4, 12), (2, 6), (1, 3), (1, 2)]


@pytest.mark.parametrize("kind", ["plain", "dinov2", "eva02", "sam"])
@pytest.mark.parametrize("size", [(32, 40), (33, 50), (7, 5)])
def test_any_size_is_decoded_and_learnt_from(kind: str, size: tuple[int, int]) -> None:
    segmenter = model(kind).eval()
    batch = images(3, 3, *size)
    with torch.no_grad():
        together = segmenter(batch)
        assert together.shape == (3, CLASSES, *size)
        torch.testing.assert_close(segmenter(batch[1:2]), together[1:2], rtol=1e-4, atol=1e-4)
    losses = segmenter.losses(batch[:1], labelled(1, *size))
    assert all(torch.isfinite(value) for value in losses.values())


def test_padding_is_unlabelled() -> None:
    segmenter = model().eval()
    batch, label = images(1, 3, 33, 50), labelled(1, 33, 50)
    grey = segmenter.mean.expand(1, 3, 40, 56).clone()
    grey[..., :33, :50] = batch
    larger = F.pad(label, (0, 6, 0, 7), value=255)
    torch.manual_seed(0)
    odd = segmenter.losses(batch, label)
    torch.manual_seed(0)
    torch.testing.assert_close(odd, segmenter.losses(grey, larger))


# -- parameters ------------------------------------------------------------------------------------------------


def formula(d: int, classes: int) -> int:
    """Parameters of Mask2Former on a ViT of width ``d``, layer by layer."""
    w, norm = 256, 2 * 256

    def linear(m: int, n: int) -> int:
        return (m + 1) * n

    samples = 8 * 3 * 4  # heads, levels, points
    deformable = linear(w, 2 * samples) + linear(w, samples) + 2 * linear(w, w)
    encoder = 6 * (deformable + linear(w, 1024) + linear(1024, w) + 2 * norm)
    projections = 3 * (linear(d, w) + norm) + (d * w + norm) + (9 * w * w + norm)
    attention = 4 * linear(w, w)
    decoder = 9 * (2 * attention + linear(w, 2048) + linear(2048, w) + 3 * norm) + norm
    heads = 3 * linear(w, w) + linear(w, classes + 1)
    return projections + encoder + linear(w, w) + 3 * w + decoder + heads + 2 * 100 * w + 3 * w


def test_parameters_on_a_vit_l() -> None:
    with torch.device("meta"):
        decoder = build_decoder(SPEC, 1024, 19, seed=0)
    count = sum(parameter.numel() for parameter in decoder.parameters())
    assert count == formula(1024, 19) == 20_565_204
    decoder = build_decoder(SPEC, 64, 5, seed=0)
    assert sum(parameter.numel() for parameter in decoder.parameters()) == formula(64, 5)


def test_the_published_decoder_predicts_ten_times_and_every_parameter_learns() -> None:
    decoder = build_decoder(SPEC, 48, CLASSES, seed=0)
    assert isinstance(decoder, Mask2Former)
    # At the start all places are looked at alike wherever they lie, so positions learn from the second step on.
    with torch.no_grad():
        for index, layer in enumerate(decoder.pixels.encoder.layers):
            for part in (layer.self_attn.sampling_offsets, layer.self_attn.attention_weights):
                part.weight += 0.01 * drawn(*part.weight.shape, seed=index)
    features = [drawn(2, 48, 4, 6, seed=seed).requires_grad_(True) for seed in range(4)]
    layers = decoder.predictions(features)
    assert [tuple(x.shape) for x in layers[-1]] == [(2, 100, CLASSES + 1), (2, 100, 16, 24)]
    assert len(layers) == 10
    torch.stack(list(decoder.compare(layers, labelled(2, 32, 48)).values())).sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        # A key's bias moves all scores of a query alike, so softmax hides it: its gradient is rounding.
        assert parameter.grad.any() or name.endswith("k_proj.bias"), name
    assert all(feature.grad is not None and feature.grad.any() for feature in features)


def test_it_starts_the_same_whatever_was_drawn_before() -> None:
    first = build_decoder(SPEC, 48, 5, seed=0)
    torch.manual_seed(7)
    torch.rand(3)
    state = torch.get_rng_state()
    assert weight_hash(build_decoder(SPEC, 48, 5, seed=0)) == weight_hash(first)
    assert torch.equal(torch.get_rng_state(), state)
    assert weight_hash(build_decoder(SPEC, 48, 5, seed=1)) != weight_hash(first)


def test_initial_weights_are_mmdetections() -> None:
    decoder = build_decoder(SPEC, 64, 5, seed=0)
    tensors = dict(decoder.named_parameters())
    for name, spread in {
        "transformer.decoder.layers.8.cross_attn.in_proj_weight": math.sqrt(2 / (4 * 256)),
        "transformer.decoder.layers.0.self_attn.q_proj.weight": math.sqrt(2 / (4 * 256)),
        "transformer.decoder.layers.0.self_attn.out_proj.weight": math.sqrt(2 / (2 * 256)),
        "transformer.decoder.layers.0.fc1.weight": math.sqrt(2 / (256 + 2048)),
        "transformer.queries_embedder.weight": 1.0,
        "transformer.queries_features.weight": 1.0,
        "pixels.encoder.layers.5.fc2.weight": math.sqrt(2 / (256 + 1024)),
        "pixels.encoder.layers.5.self_attn.value_proj.weight": math.sqrt(2 / (2 * 256)),
        "pixels.layer_1.0.weight": math.sqrt(1 / (9 * 256)),
        "pixels.mask_projection.weight": math.sqrt(1 / 256),
        "pixels.input_projections.0.0.weight": math.sqrt(2 / (64 + 256)),
        "pixels.level_embed": 1.0,
    }.items():
        assert tensors[name].std().item() == pytest.approx(spread, rel=0.1), name
    offsets = tensors["pixels.encoder.layers.0.self_attn.sampling_offsets.bias"].view(8, 3, 4, 2)
    for head in range(8):
        angle = head * math.pi / 4
        longest = max(abs(math.cos(angle)), abs(math.sin(angle)))
        for level in range(3):
            for point in range(4):
                wanted = [(point + 1) * math.cos(angle) / longest, (point + 1) * math.sin(angle) / longest]
                assert offsets[head, level, point].tolist() == pytest.approx(wanted, abs=1e-5)
    assert not tensors["pixels.encoder.layers.0.self_attn.sampling_offsets.weight"].any()


def test_norms_query_embedding_and_level_embedding_do_not_decay() -> None:
    decoder = small()
    decayed, exempt = decoder.parameter_groups(0.05)
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.05, 0.0)
    names = {id(parameter): name for name, parameter in decoder.named_parameters()}
    free = {names[id(parameter)] for parameter in exempt["params"]}
    assert len(decayed["params"]) + len(exempt["params"]) == len(names)
    assert free == {
        *(f"pixels.input_projections.{level}.1.{part}" for level in range(3) for part in ("weight", "bias")),
        *(f"pixels.{name}.1.{part}" for name in ("adapter_1", "layer_1") for part in ("weight", "bias")),
        *(name for name in names.values() if "norm" in name),
        "transformer.queries_embedder.weight",
        "transformer.level_embed.weight",
    }
    light = build_decoder(DecoderSpec(lr=1e-4), 48, 5, seed=0)
    assert isinstance(light, LightDecoder)
    assert [(len(g["params"]), g["weight_decay"]) for g in light.parameter_groups(0.05)] == [
        (len(list(light.parameters())), 0.05)
    ]


@pytest.mark.parametrize("linked", [False, True])
def test_a_state_dict_restores_what_it_was_taken_from(linked: bool) -> None:
    offered = nn.Embedding(QUERIES, 256)
    one, other = (Mask2Former(48, CLASSES, QUERIES, 1, 1, POINTS).eval() for _ in range(2))
    if linked:
        one.link(lambda: offered.weight, seed=0)
        other.link(lambda: offered.weight, seed=1)
    features = [drawn(1, 48, 2, 3, seed=seed) for seed in range(4)]
    with torch.no_grad():
        assert not torch.equal(one(features), other(features))
        other.load_state_dict(one.state_dict())
        assert torch.equal(one(features), other(features))


# -- the query link --------------------------------------------------------------------------------------------


def test_linked_queries_stand_where_the_tables_stood() -> None:
    linked, plain = small().eval(), small().eval()
    offered = nn.Parameter(drawn(QUERIES, 256))
    before = sum(parameter.numel() for parameter in linked.parameters())
    linked.link(lambda: 2 * offered, seed=0)
    layer: nn.Linear = linked.transformer.queries_features.layer
    after = sum(parameter.numel() for parameter in linked.parameters())
    assert after - before == 256 * 256 + 256 - 2 * QUERIES * 256
    with torch.no_grad():
        plain.transformer.queries_embedder.weight.copy_(2 * offered)
        plain.transformer.queries_features.weight.copy_(2 * offered @ layer.weight.T + layer.bias)
    features = [drawn(2, 48, 2, 3, seed=seed) for seed in range(4)]
    torch.testing.assert_close(linked(features), plain(features))
    torch.stack(list(linked.losses(features, labelled(2, 16, 24), None).values())).sum().backward()
    assert offered.grad is not None
    assert offered.grad.any()
    assert all(parameter.grad is not None for parameter in linked.parameters())


def test_the_links_layer_depends_on_the_seed_alone() -> None:
    state = torch.get_rng_state()
    layers: Iterator[nn.Linear] = (_linked_layer(seed) for seed in (0, 0, 1))
    first, again, other = (layer.weight for layer in layers)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def _linked_layer(seed: int) -> nn.Linear:
    decoder = small()
    decoder.link(lambda: torch.zeros(QUERIES, 256), seed)
    layer: nn.Linear = decoder.transformer.queries_features.layer
    return layer


@pytest.mark.parametrize("shape", [(QUERIES + 1, 256), (QUERIES, 64)])
def test_queries_of_another_shape_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=r"takes \(5, 256\); give the method 5 tokens"):
        small().link(lambda: torch.zeros(shape), seed=0)


def test_the_library_is_imported_when_the_decoder_is_built() -> None:
    code = "import sys, benchmark.models.segmenter, benchmark.protocol; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
