"""Each baseline's arithmetic against an independent and plain computation."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from baselines.bitfit import BitFit
from baselines.childtune_d import ChildTuneD
from baselines.full import Full
from baselines.lora import LoRA
from baselines.random import Random
from baselines.rein import Rein, Reins
from baselines.vpt import VPT
from benchmark.errors import UserError
from benchmark.method import Estimation, Method, Phase, candidates
from benchmark.models.backbone import Backbone
from benchmark.streams import torch_rng
from tests.backbones import tiny_backbone
from tests.baselines.reference import as_map, attached, attend_in_windows, embed, feed_forward, rotated


def attach(made: Method, backbone: Backbone, seed: int = 0) -> Any:
    made.attach(backbone.eval(), torch_rng(seed, "method"))
    return made


def images(batch: int = 2, size: int = 32) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(3))


def outputs(backbone: Backbone) -> list[Tensor]:
    with torch.no_grad():
        return backbone(images())


def close(left: list[Tensor], right: list[Tensor], tolerance: float = 1e-5) -> bool:
    return all(torch.allclose(a, b, atol=tolerance, rtol=tolerance) for a, b in zip(left, right, strict=True))


# -- Rein --------------------------------------------------------------------------------------------------

DEPTH, TOKENS, RANK, DIM = 2, 5, 3, 6


@pytest.fixture
def reins() -> Reins:
    made = Reins(DEPTH, TOKENS, RANK, DIM, patch=2, scale=0.5, rng=torch_rng(0, "method")).double()
    with torch.no_grad():
        made.a.mul_(4)  # so that the softmax is far from uniform
    return made


def plain(tensor: Tensor) -> Any:
    return tensor.tolist()


def product(left: Any, right: Any) -> list[list[float]]:
    return [
        [sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*right, strict=True)] for row in left
    ]


def affine(layer: nn.Linear, vector: list[float]) -> list[float]:
    rows, bias = plain(layer.weight), plain(layer.bias)
    return [sum(w * x for w, x in zip(row, vector, strict=True)) + b for row, b in zip(rows, bias, strict=True)]


def test_rein_equals_its_formula_in_plain_loops(reins: Reins) -> None:
    features = torch.randn(7, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for block in range(DEPTH):
        tokens = product(plain(reins.a[block]), plain(reins.b[block]))
        values = [affine(reins.token_to_feature, token) for token in tokens]
        refined = []
        for f in plain(features):
            scores = [math.exp(sum(x * t for x, t in zip(f, token, strict=True)) / math.sqrt(DIM)) for token in tokens]
            shares = [score / sum(scores) for score in scores]
            mixed = list(f)
            for token in range(1, TOKENS):  # the first takes its share of the softmax and gives nothing
                mixed = [x + shares[token] * v for x, v in zip(mixed, values[token], strict=True)]
            delta = affine(reins.feature, mixed)
            refined.append([x + reins.scale.item() * d for x, d in zip(f, delta, strict=True)])
        expected = torch.tensor(refined, dtype=torch.float64)
        assert torch.allclose(reins(features, block), expected, atol=1e-12)


def test_rein_queries_interleave_largest_mean_and_last(reins: Reins) -> None:
    each = []
    for block in range(DEPTH):
        tokens = product(plain(reins.a[block]), plain(reins.b[block]))
        each.append([affine(reins.query, token) for token in tokens])
    for token, query in enumerate(reins.queries()):
        summary = []
        for values in zip(*(block[token] for block in each), strict=True):
            summary += [max(values), sum(values) / DEPTH, values[-1]]
        assert torch.allclose(query, torch.tensor(affine(reins.merge, summary), dtype=torch.float64), atol=1e-12)


def test_rein_initial_tokens_fill_their_range_and_no_more() -> None:
    made = Reins(24, 100, 16, 1024, patch=16, scale=0.001, rng=torch_rng(0, "method"))
    bound = math.sqrt(6 / (3 * 16 * 16 + math.sqrt(16 * 1024)))
    for tensor in (made.a, made.b):
        assert 0.999 * bound < tensor.abs().max() <= bound
        assert tensor.mean().abs() < 0.01 * bound
    assert made.feature.weight.abs().max() <= 1 / 32
    assert made.scale.item() == pytest.approx(0.001)


@pytest.mark.parametrize("kind", ["plain", "dinov2", "dinov3", "sam"])
def test_rein_refines_patch_tokens_block_after_block(kind: str) -> None:
    backbone = tiny_backbone(kind)
    made = attach(Rein(Rein.Settings(tokens=7, rank=4, scale=0.3)), backbone)
    expected = []

    def follow(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        index = list(backbone.blocks).index(block)
        tokens = output.clone()
        places = tokens if kind == "sam" else tokens[:, backbone.prefix_tokens :]
        places.copy_(made.backbone.rein(places.clone(), index))
        grid = tokens if kind == "sam" else places.unflatten(1, (4, 4))
        expected.append(grid.permute(0, 3, 1, 2))
        return tokens

    found = outputs(backbone)
    for hook in made._hooks:
        hook.remove()
    for block in backbone.blocks:
        block.register_forward_hook(follow, with_kwargs=True)
    outputs(backbone)
    assert close(found, expected)


# -- LoRA --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "dinov2", "eva02", "eva02-fused", "dinov3", "sam"])
def test_lora_equals_merged_weights(kind: str) -> None:
    tuned, merged = tiny_backbone(kind), tiny_backbone(kind)
    start = outputs(merged.eval())
    made = attach(LoRA(LoRA.Settings(rank=4, alpha=6.0)), tuned)
    assert close(outputs(tuned), start, 1e-6), "B = 0: the function at the start is the pre-trained one"
    for name, layer in made._layers.items():
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        assert 0.9 * 48**-0.5 < a.abs().max() <= 48**-0.5
        with torch.no_grad():
            b.copy_(torch.randn(b.shape, generator=torch.Generator().manual_seed(len(name))))
            merged.get_submodule(name).get_parameter("weight").add_(6.0 / 4 * b @ a)
    found = outputs(tuned)
    assert close(found, outputs(merged), 1e-4)
    assert not close(found, start, 1e-2)


def test_lora_leaves_nothing_of_peft_behind() -> None:
    backbone = tiny_backbone("eva02-fused")
    made = attach(LoRA(), backbone)
    made.detach()
    assert not any(block.get_submodule("attn").qkv_bias_separate for block in backbone.blocks)
    assert not hasattr(backbone, "peft_config")
    attach(made, backbone)
    assert made.trainable() == 3 * 8 * 4 * 48


def test_lora_drops_out_in_training_only_and_leaves_drop_path_off() -> None:
    backbone = tiny_backbone("dinov2", drop_path_rate=0.5, proj_drop_rate=0.5)
    made = attach(LoRA(LoRA.Settings(dropout=0.5)), backbone)
    made.train_mode()
    assert torch.equal(outputs(backbone)[-1], outputs(backbone)[-1]), "B = 0 hides dropout; drop path would show"
    for layer in made._layers.values():
        nn.init.constant_(layer.lora_B["default"].weight, 0.1)
    assert not torch.equal(outputs(backbone)[-1], outputs(backbone)[-1])
    backbone.eval()
    assert torch.equal(outputs(backbone)[-1], outputs(backbone)[-1])


# -- VPT ---------------------------------------------------------------------------------------------------


def attention(module: Any, x: Tensor, rope: Tensor | None, plain_tokens: int) -> Tensor:
    """Compute timm's attention from its weights; the first ``plain_tokens`` tokens are not rotated."""
    batch, length, width = x.shape
    if module.qkv is not None:
        bias = module.qkv.bias
        if getattr(module, "q_bias", None) is not None:
            bias = torch.cat([module.q_bias, module.k_bias, module.v_bias])
        projected = nn.functional.linear(x, module.qkv.weight, bias).chunk(3, -1)
    else:
        projected = (module.q_proj(x), module.k_proj(x), module.v_proj(x))
    q, k, v = (t.reshape(batch, length, module.num_heads, -1).transpose(1, 2) for t in projected)
    if rope is not None:
        half = module.rotate_half
        q, k = (torch.cat([t[:, :, :plain_tokens], rotated(t[:, :, plain_tokens:], rope, half)], 2) for t in (q, k))
    weights = (q @ k.mT / math.sqrt(width // module.num_heads)).softmax(-1)
    return module.proj(module.norm((weights @ v).transpose(1, 2).reshape(batch, length, width)))


def vit_with_prompts(backbone: Backbone, prompts: Tensor) -> list[Tensor]:
    """Compute VPT-deep token by token: concatenate, run the block, throw the prompts' outputs away."""
    vit, start = backbone.vit, backbone.prefix_tokens
    embedded = vit._pos_embed(vit.patch_embed(images()))
    x, rope = embedded if isinstance(embedded, tuple) else (embedded, None)
    taken = []
    for block, own in zip(backbone.blocks, prompts, strict=True):
        b: Any = block
        x = torch.cat([x[:, :start], own.expand(len(x), -1, -1), x[:, start:]], 1)
        eva = hasattr(b, "gamma_1")
        scales = (b.gamma_1, b.gamma_2) if eva else (getattr(b.ls1, "gamma", None), getattr(b.ls2, "gamma", None))
        first, second = (1.0 if scale is None else scale for scale in scales)
        x = x + first * attention(b.attn, b.norm1(x), rope, start + len(own))
        x = x + second * b.mlp(b.norm2(x))
        x = torch.cat([x[:, :start], x[:, start + len(own) :]], 1)
        taken.append(x[:, start:].transpose(1, 2).unflatten(2, (4, 4)))
    return taken


@pytest.mark.parametrize("kind", ["plain", "dinov2", "eva02", "eva02-fused", "dinov3"])
def test_vpt_equals_concatenation_by_hand(kind: str) -> None:
    backbone = tiny_backbone(kind)
    start = outputs(backbone.eval())
    attach(VPT(VPT.Settings(prompts=5)), backbone)
    found = outputs(backbone)
    with torch.no_grad():
        expected = vit_with_prompts(tiny_backbone(kind).eval(), backbone.get_parameter("vpt.tokens"))
    assert close(found, expected)
    assert not close(found, start, 1e-3)


@pytest.mark.parametrize("options", [{}, {"qk_norm": True}, {"window_size": 3}])
@torch.no_grad()
def test_vpt_joins_each_of_sams_windows_as_further_tokens_would(options: dict[str, Any]) -> None:
    backbone = attached(VPT(VPT.Settings(prompts=5)), "sam", **options)
    prompts = backbone.get_parameter("vpt.tokens")
    prompts.mul_(10)
    found = backbone(images(1).double())
    x, _ = embed(backbone, images(1).double())
    for block, own, features in zip(backbone.blocks, prompts, found, strict=True):
        attention = attend_in_windows(block, block.get_submodule("norm1")(x), block.get_submodule("norm1")(own))
        usual = attend_in_windows(block, block.get_submodule("norm1")(x))
        assert not torch.allclose(attention, usual, rtol=0.1, atol=0.1)
        x = x + attention
        x = x + feed_forward(block, x)
        assert torch.allclose(features, as_map(backbone, x), rtol=1e-9, atol=1e-9)


def test_vpt_refuses_windows_without_relative_positions() -> None:
    backbone = tiny_backbone("sam", use_rel_pos=False)
    with pytest.raises(UserError, match="vpt cannot serve backbone 'tiny-sam': block 0 is windowed, but not as SAM's"):
        VPT().attach(backbone, torch_rng(0, "method"))


def test_vpt_prompts_fill_their_range_and_no_more() -> None:
    backbone = tiny_backbone("plain")
    attach(VPT(), backbone)
    bound = math.sqrt(6 / (3 * 8 * 8 + 48))
    assert 0.999 * bound < backbone.get_parameter("vpt.tokens").abs().max() <= bound


# -- weight decay ------------------------------------------------------------------------------------------


def norms(backbone: Backbone) -> set[str]:
    layers = [name for name, module in backbone.named_modules() if isinstance(module, nn.LayerNorm)]
    return {name for name, _ in backbone.named_parameters() if name.rpartition(".")[0] in layers}


@pytest.mark.parametrize(
    ("cls", "decay", "exempt"),
    [
        (Full, 0.05, norms),
        (BitFit, 0.0, lambda backbone: set()),
        (LoRA, 0.05, lambda backbone: set()),
        (VPT, 0.0, lambda backbone: set()),
        (Rein, 0.05, lambda backbone: {"rein.a", "rein.b", "rein.scale"}),
        (Random, 0.05, lambda backbone: set()),
        (ChildTuneD, 0.05, lambda backbone: set()),
    ],
)
def test_weight_decay_spares_exactly_what_the_papers_spare(
    cls: type[Method], decay: float, exempt: Callable[[Backbone], set[str]]
) -> None:
    for given in (None, 0.3):
        settings = cls.Settings() if given is None else cls.Settings.model_validate({"weight_decay": given})
        backbone = tiny_backbone("eva02")
        groups = attach(cls(settings), backbone).parameter_groups()
        names = {id(parameter): name for name, parameter in backbone.named_parameters()}
        decays = {names[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}
        spared = exempt(backbone)
        assert decays == {name: 0.0 if name in spared else decay if given is None else given for name in decays}
        assert spared <= set(decays)


# -- Random ------------------------------------------------------------------------------------------------


def chosen(made: Random, backbone: Backbone) -> dict[str, Tensor]:
    optimizer = made.optimizer((0.9, 0.999), 1e-8)
    return {c.name: optimizer.selected(c.parameter) for c in candidates(backbone)}


def test_random_spreads_evenly_over_candidates_and_follows_its_stream() -> None:
    backbone = tiny_backbone("dinov2")
    masks = chosen(attach(Random(), backbone), backbone)
    share = sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
    for mask in masks.values():
        deviation = math.sqrt(share * (1 - share) / mask.numel())
        assert mask.float().mean().item() == pytest.approx(share, abs=5 * deviation)
    again = chosen(attach(Random(), tiny_backbone("dinov2")), tiny_backbone("dinov2"))
    other = chosen(attach(Random(), backbone, seed=1), backbone)
    assert again.keys() == masks.keys()
    assert any(not torch.equal(masks[name], other[name]) for name in masks)


def test_random_keeps_to_its_groups() -> None:
    backbone = tiny_backbone("dinov2")
    made = attach(Random(Random.Settings(groups=("k",))), backbone)
    optimizer = made.optimizer((0.9, 0.999), 1e-8)
    for candidate in candidates(backbone):
        mask = candidate.share(optimizer.selected(candidate.parameter)) if candidate.group != "ffn" else None
        assert mask is None or bool(mask.any()) == (candidate.group == "k")
    with pytest.raises(UserError, match=r"random: share 0\.9 of backbone 'tiny-dinov2' .* but q hold 6,912"):
        attach(Random(Random.Settings(groups=("q",), share=0.9)), backbone)


# -- ChildTuning-D -----------------------------------------------------------------------------------------


def square_loss(backbone: Backbone) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, y: sum((f.mean((2, 3)) - y[:, None]).square().mean() for f in backbone(x))


def batches() -> list[tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(4)
    return [(torch.randn(4, 3, 32, 32, generator=rng), 9 * torch.rand(4, generator=rng)) for _ in range(4)]


def feed(made: ChildTuneD, backbone: Backbone, steps: range) -> None:
    for step in steps:
        x, y = batches()[step]
        loss = square_loss(backbone)
        made.estimate(Estimation(x, y, lambda z: z, loss, torch_rng(0, "estimation", step), step, 4))


def masks_of(made: ChildTuneD, backbone: Backbone) -> dict[str, Tensor]:
    optimizer = made.optimizer((0.9, 0.999), 1e-8)
    made.before_step(0, 10)
    return {name: optimizer.selected(p) for name, p in backbone.named_parameters() if "blocks" in name}


@pytest.mark.parametrize("clip", [1.0, 1e9])
def test_childtune_chooses_as_an_explicit_loop_does(clip: float) -> None:
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


def test_clipping_gradients_changes_the_choice() -> None:
    both = []
    for clip in (0.01, 1e9):
        backbone = tiny_backbone("dinov2")
        made = attach(ChildTuneD(ChildTuneD.Settings(clip=clip)), backbone)
        feed(made, backbone, range(4))
        both.append(masks_of(made, backbone))
    assert any(not torch.equal(both[0][name], both[1][name]) for name in both[0])


def test_childtune_resumes_in_the_middle_of_its_estimation() -> None:
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
        made.estimate(Estimation(x[half], y[half], lambda z: z, square_loss(backbone), rng, step, 4))
    torch.save(made.state_dict()["scores"], f"{results}{rank}.pt")
    torch.distributed.destroy_process_group()


def test_childtune_scores_alike_on_one_process_and_two(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(two_processes, (str(tmp_path / "meeting"), str(tmp_path / "scores")), nprocs=2)
    backbone = tiny_backbone("plain")
    made = attach(ChildTuneD(), backbone)
    feed(made, backbone, range(4))
    first, second = (torch.load(tmp_path / f"scores{rank}.pt", weights_only=True) for rank in range(2))
    for name, score in made.state_dict()["scores"].items():
        assert torch.equal(first[name], second[name]), "every process must choose the same weights"
        assert torch.allclose(first[name], score, rtol=1e-3, atol=1e-9)


def test_childtune_phases_fill_the_budget() -> None:
    made = ChildTuneD(ChildTuneD.Settings(estimation=0.25))
    assert made.phases(400, 0) == (
        Phase("estimate", 100, backbone=False, decoder=False, estimate=True),
        Phase("tune", 300),
    )
    assert [phase.iterations for phase in made.phases(2, 0)] == [1, 1]
