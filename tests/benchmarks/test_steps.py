"""Our training step compared with a plain implementation of the method, and with full fine-tuning."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmark import protocol as protocols
from benchmark.common import registry
from benchmark.common.rng import derive_seed
from benchmark.method import Method
from benchmark.models.backbone import Backbone, build_backbone
from benchmark.models.decoder import Decoder
from benchmark.models.decoders import build_decoder
from benchmark.models.segmenter import Segmenter
from benchmark.protocol import Protocol
from benchmark.training.ranks import make_accelerator
from benchmark.training.schedule import schedule
from benchmark.training.trainer import Trainer
from tests.benchmarks import reference
from tests.benchmarks.counting import operations
from tests.benchmarks.memory import beyond, peak

pytestmark = pytest.mark.slow

CLASSES, ITERATIONS, ROUNDS = 19, 100, 5
SIZES = {"vit-tiny-random": (2, 64), "dinov2-s": (2, 256), "dinov2-b": (2, 160)}
"""Backbone: (images per batch, image side)."""
METHODS = ("full", "freeze", "rein", "vpt", "lora", "adaptformer", "fishertune")


def batch(backbone: str) -> tuple[Tensor, Tensor]:
    count, side = SIZES[backbone]
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (count, side, side), generator=generator)
    labels[:, :5] = 255
    return 255 * torch.rand(count, 3, side, side, generator=generator), labels


def parts(name: str, count: int) -> tuple[Protocol, Backbone, Decoder]:
    streets = protocols.load("streets")
    spec = streets.decoder.model_copy(update={"warmup": 0, "lr": 1e-4})
    fixed = streets.model_copy(update={"iterations": ITERATIONS, "batch": count, "decoder": spec})
    backbone = build_backbone(name, pretrained=False)
    return fixed, backbone, build_decoder(spec, backbone.embed_dim, CLASSES, 0)


def made(name: str) -> Method:
    cls: type[Method] = registry.find("method", name)
    # A large learning rate, so that one update changes the loss.
    given = {"fishertune": {"decoder_first": 0.0}, "freeze": {}}.get(name, {"lr": 3e-3})
    return cls(cls.Settings(**given))


def training(backbone: str, name: str) -> tuple[Trainer, int]:
    """Return a trainer, and the iteration at which its method starts to tune."""
    fixed, vfm, decoder = parts(backbone, SIZES.get(backbone, (1, 0))[0])
    data: Any = []  # batches are passed to the step
    trainer = Trainer(fixed, 0, Segmenter(vfm, decoder), made(name), data, make_accelerator("float32"))
    return trainer, next(t for t, slot in enumerate(trainer.timeline) if not slot.phase.estimate)


def ours(backbone: str, name: str) -> Callable[[Tensor, Tensor], float]:
    """Return our loop's tuning step of a method, after its earlier phases."""
    trainer, tuning = training(backbone, name)
    if tuning:
        for t in (0, tuning - 1, tuning):  # estimate, select, and tune the selected weights
            trainer.progress.step = t
            trainer.step(*batch(backbone))
        trainer.progress.step += 1

    def step(images: Tensor, labels: Tensor) -> float:
        loss = sum(trainer.step(images, labels).values())
        trainer.progress.step += 1
        return loss

    return step


def by_formula(backbone: str, name: str) -> Callable[[Tensor, Tensor], float]:
    """Return the plain implementation's step, from the same initial weights."""
    fixed, vfm, decoder = parts(backbone, SIZES[backbone][0])
    bare, method = deepcopy(vfm), made(name)
    method.attach(vfm, torch.Generator().manual_seed(derive_seed(0, "method")))
    bare.requires_grad_(name == "full").train(name == "full")
    layer, own = LAYERS[name](method, bare)
    groups = [{**group, "params": [own[id(p)] for p in group["params"]]} for group in method.parameter_groups()]
    rates = {"lr": fixed.decoder.lr, "weight_decay": fixed.decoder.weight_decay}
    return stepping(fixed, reference.Training(bare, decoder, layer, groups, rates))


def by_peft(backbone: str, name: str) -> Callable[[Tensor, Tensor], float]:
    """Return a plain step with peft's LoRA, from the same initial weights."""
    from peft import LoraConfig, get_peft_model

    assert name == "lora"
    fixed, vfm, decoder = parts(backbone, SIZES[backbone][0])
    method = made(name)
    s = method.settings
    config = LoraConfig(r=s.rank, lora_alpha=s.alpha, lora_dropout=s.dropout, target_modules=["qkv"])
    bare = deepcopy(vfm)
    bare.vit = get_peft_model(bare.vit, config).base_model.model
    method.attach(vfm, torch.Generator().manual_seed(derive_seed(0, "method")))
    params = [p for p in bare.parameters() if p.requires_grad]
    with torch.no_grad():
        for theirs, mine in zip(params, (p for p in vfm.parameters() if p.requires_grad), strict=True):
            theirs.copy_(mine)
    group = {"params": params, "lr": s.lr, "weight_decay": s.weight_decay}
    rates = {"lr": fixed.decoder.lr, "weight_decay": fixed.decoder.weight_decay}
    return stepping(fixed, reference.Training(bare, decoder, reference.plain, [group], rates))


def stepping(fixed: Protocol, training: reference.Training) -> Callable[[Tensor, Tensor], float]:
    done = 0

    def step(images: Tensor, labels: Tensor) -> float:
        nonlocal done
        torch.manual_seed(derive_seed(0, "model", done, 0))
        loss = training.step(images, labels, schedule(fixed, done))
        done += 1
        return loss

    return step


def _copies(module: Any) -> tuple[dict[str, Tensor], dict[int, Tensor]]:
    """Return copies of a module's parameters by name, and by the id of the original."""
    named = {name: (p, p.detach().clone().requires_grad_()) for name, p in module.named_parameters()}
    return {name: copy for name, (_, copy) in named.items()}, {id(p): copy for p, copy in named.values()}


def _full(method: Method, bare: Backbone) -> tuple[reference.Layer, dict[int, Tensor]]:
    pairs = zip(method.backbone.parameters(), bare.parameters(), strict=True)
    return reference.plain, {id(p): theirs for p, theirs in pairs}


def _rein(method: Method, bare: Backbone) -> tuple[reference.Layer, dict[int, Tensor]]:
    own, ids = _copies(method.backbone.rein)
    return reference.rein(own, bare.prefix_tokens), ids


def _vpt(method: Method, bare: Backbone) -> tuple[reference.Layer, dict[int, Tensor]]:
    own, ids = _copies(method.backbone.vpt)
    return reference.vpt(own, bare.prefix_tokens), ids


def _adaptformer(method: Method, bare: Backbone) -> tuple[reference.Layer, dict[int, Tensor]]:
    own, ids = _copies(method.backbone.adaptformer)
    return reference.adaptformer(own, method.settings.scale, method.settings.dropout), ids


def _lora(method: Method, bare: Backbone) -> tuple[reference.Layer, dict[int, Tensor]]:
    own: dict[str, Tensor] = {}
    ids: dict[int, Tensor] = {}
    block: Any
    for index, block in enumerate(method.backbone.blocks):
        layer = block.attn.qkv
        for name, p in (("a", layer.lora_A["default"].weight), ("b", layer.lora_B["default"].weight)):
            own[f"{index}.{name}"] = ids[id(p)] = p.detach().clone().requires_grad_()
    return reference.lora(own, method.settings.alpha / method.settings.rank), ids


LAYERS: dict[str, Callable[[Method, Backbone], tuple[reference.Layer, dict[int, Tensor]]]] = {
    "full": _full, "rein": _rein, "vpt": _vpt, "adaptformer": _adaptformer, "lora": _lora,
}  # fmt: skip
WAYS = {"ours": ours, "formula": by_formula, "peft": by_peft}
PAIRS = [
    (name, way)
    for name in METHODS
    for way in WAYS
    if way == "ours" or (way == "formula" and name in LAYERS) or (way == "peft" and name == "lora")
]


@pytest.fixture(params=list(SIZES))
def backbone(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name.startswith("dinov2"):
        request.getfixturevalue("asked_for")
    return name


@pytest.mark.parametrize(("name", "way"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_training_step(benchmark: BenchmarkFixture, backbone: str, name: str, way: str) -> None:
    """A reference must give our losses before and after an update.

    Then both are timed in alternation: times measured a minute apart differ by more than the effect to be measured.
    """
    images, labels = batch(backbone)
    step, other = WAYS[way](backbone, name), ours(backbone, name)
    beside: list[float] = []

    def turn() -> None:
        if way != "ours":
            began = time.perf_counter()
            other(images, labels)
            beside.append(time.perf_counter() - began)

    if way != "ours":
        expected = [other(images, labels) for _ in range(2)]
        assert [step(images, labels) for _ in range(2)] == pytest.approx(expected, rel=1e-3)
    if backbone.startswith("dinov2"):
        benchmark.extra_info["operations"] = operations(lambda: step(images, labels))
    rounds = ROUNDS if backbone.startswith("dinov2") else 1
    benchmark.pedantic(step, (images, labels), setup=turn, rounds=rounds, warmup_rounds=1)
    if beside:
        benchmark.extra_info["beside"] = min(beside)


def _run(backbone: str, name: str, part: str) -> None:
    """Do the steps at which memory peaks: two of the estimate, the last of which selects, and two updates."""
    trainer, tuning = training(backbone, name)
    for t in (*((0, tuning - 1) if tuning else ()), tuning, tuning + 1):
        if part == "tuning" and t == tuning + 1:
            peak(reset=True)
        trainer.progress.step = t
        trainer.step(*batch(backbone))


@pytest.mark.usefixtures("asked_for")
@pytest.mark.parametrize("part", ["run", "tuning"])
@pytest.mark.parametrize("name", ["full", "freeze", "fishertune"])
def test_memory_on_a_vit_b(benchmark: BenchmarkFixture, name: str, part: str) -> None:
    """Peak memory without that of the libraries."""
    benchmark.extra_info["memory"] = benchmark.pedantic(beyond, (partial(_run, "dinov2-b", name, part),), rounds=1)
