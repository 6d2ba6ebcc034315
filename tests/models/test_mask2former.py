"""Mask2Former: sizes, parameters, initial weights, linked queries."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.common.errors import UserError
from benchmark.models.decoders import LightDecoder, build_decoder
from benchmark.models.mask2former import Mask2Former, pyramid
from benchmark.models.weights import weight_hash
from benchmark.protocol import DecoderSpec
from tests.models.mask2former import (
    CLASSES,
    POINTS,
    QUERIES,
    SPEC,
    drawn,
    images,
    labelled,
    model,
    small,
)

# -- pyramid, sizes --------------------------------------------------------------------------------------------


def test_the_pyramid_has_strides_4_to_32_and_is_plain_resizing() -> None:
    features = [drawn(2, 6, 8, 10, seed=seed) for seed in range(4)]
    levels = pyramid(features)
    assert [tuple(level.shape[-2:]) for level in levels] == [(32, 40), (16, 20), (8, 10), (4, 5)]
    for level, x, scale in zip(levels, features, (4, 2, 1, 0.5), strict=True):
        wanted = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
        torch.testing.assert_close(level, wanted)
    assert [tuple(level.shape[-2:]) for level in pyramid([drawn(1, 6, 1, 3)] * 4)] == [(4, 12), (2, 6), (1, 3), (1, 2)]


@pytest.mark.parametrize("kind", ["plain", "dinov2", "eva02", "sam"])
@pytest.mark.parametrize("size", [(32, 40), (33, 50), (7, 5)])
def test_predictions_and_losses_work_for_any_size(kind: str, size: tuple[int, int]) -> None:
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


def test_the_published_decoder_has_ten_predictions_and_every_parameter_gets_gradients() -> None:
    decoder = build_decoder(SPEC, 48, CLASSES, seed=0)
    assert isinstance(decoder, Mask2Former)
    # Initially offsets and weights of the attention do not depend on queries: the level embedding gets no gradient.
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
        # A key's bias shifts all scores of a query equally, so softmax cancels it and its gradient is only rounding.
        assert parameter.grad.any() or name.endswith("k_proj.bias"), name
    assert all(feature.grad is not None and feature.grad.any() for feature in features)


def test_initial_weights_do_not_depend_on_earlier_draws() -> None:
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


def test_norms_query_and_level_embeddings_have_no_weight_decay() -> None:
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
def test_a_state_dict_can_be_loaded_into_another_decoder(linked: bool) -> None:
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


# -- linked queries --------------------------------------------------------------------------------------------


def test_linked_queries_replace_both_embedding_tables() -> None:
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


def test_the_layer_of_linked_queries_depends_on_the_seed_alone() -> None:
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
def test_queries_of_another_shape_are_an_error(shape: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=r"\(5, 256\).* 5 tokens"):
        small().link(lambda: torch.zeros(shape), seed=0)


def test_transformers_is_not_imported_before_the_decoder_is_built() -> None:
    code = "import sys, benchmark.models.segmenter, benchmark.protocol; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
