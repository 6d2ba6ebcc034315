"""Cases of decoders: ``decoder/NAME`` for every decoder that a protocol can name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor

from benchmark.check.micro import tiny
from benchmark.check.micro.digest import Numbers, noise
from benchmark.check.micro.methods import make
from benchmark.check.micro.settled import Wide
from benchmark.check.micro.training import Run
from benchmark.common.microbatch import MicroBatch
from benchmark.models.decoder import Decoder, queries_taken
from benchmark.models.decoders import build_decoder
from benchmark.protocol import DecoderSpec

DIM, LEVELS = 48, 4
QUERIES = 7
GRID = (5, 6)
NAMES = get_args(DecoderSpec.model_fields["name"].annotation)


def cases() -> dict[str, Callable[[], Numbers]]:
    """Return a case of every decoder, and that of queries that a method provides."""
    return {f"decoder/{name}": partial(_decoder, name) for name in NAMES} | {
        "decoder/mask2former with queries": _linked,
        "decoder/mask2former at full size": _full_size,
    }


def small(name: str) -> Decoder:
    """Return the decoder; of Mask2Former, which has 20 million parameters, one with few layers."""
    if name != "mask2former":
        channels = {"segformer": {"channels": 8}}.get(name, {})
        return build_decoder(DecoderSpec(name=name, lr=1e-3, **channels), DIM, tiny.CLASSES, 0)  # type: ignore[arg-type]
    from benchmark.models.mask2former import Mask2Former

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Mask2Former(DIM, tiny.CLASSES, QUERIES, encoder_layers=1, decoder_layers=2, points=60)


def _features(spread: float = 1.0) -> list[Tensor]:
    return [torch.from_numpy(spread * noise(f"level {level}", 2, DIM, *GRID)) for level in range(LEVELS)]


def _decoder(name: str) -> Numbers:
    numbers, decoder = Numbers(), small(name)
    numbers.put_all("initial weights", decoder.state_dict().values())
    groups = decoder.parameter_groups(0.05)
    numbers.put_tree("groups", [[len(group["params"]), group["weight_decay"]] for group in groups])
    numbers.put_tree("queries", queries_taken(DecoderSpec(name=name, lr=1e-3)) or "none")  # type: ignore[arg-type]
    tiny.fill(decoder, name)
    labels = torch.stack([tiny.label(place, 40, 48) for place in range(2)])
    sparse = labels.clone()
    sparse[1] = 255  # an image without labels
    weights = torch.linspace(0.5, 1.5, tiny.CLASSES)
    with torch.no_grad():
        for title, size in (("own size", (40, 48)), ("odd size", (37, 45))):
            numbers.put(f"logits at {title}", decoder.logits(_features(), size))
            scores = decoder.scores(_features(), size)
            numbers.put(f"scores at {title}", scores)
            numbers.put(f"log-probabilities at {title}", decoder.log_probabilities(scores / 2))
        numbers.put("at its own stride", decoder(_features()))
    for title, given, factors in (
        ("", labels, None), ("weighted ", labels, weights), ("half labelled ", sparse, None),
        ("unlabelled ", torch.full_like(labels, 255), None),
    ):  # fmt: skip
        if factors is None or name != "mask2former":
            numbers.put(f"{title}normaliser", decoder.normaliser(given, factors))
            _losses(numbers, title, decoder, given, factors)
    half = MicroBatch(1, 2)
    with Wide():
        torch.manual_seed(5)
        part = decoder.losses(
            [half.rows(level) for level in _features()], half.rows(labels), None, decoder.normaliser(labels, None), half
        )
    numbers.put_tree("losses of a micro-batch", part)
    _trained(numbers, name)
    return numbers


def _losses(numbers: Numbers, title: str, decoder: Decoder, labels: Tensor, weights: Tensor | None) -> None:
    features = [level.requires_grad_(True) for level in _features()]
    decoder.zero_grad()
    with Wide():
        torch.manual_seed(5)
        losses = decoder.losses(features, labels, weights)
        torch.stack(list(losses.values())).sum().backward()
    for name, loss in losses.items():
        numbers.put(f"{title}{name}", loss.item())
    numbers.put_all(f"{title}gradients of features", [_gradient(level) for level in features])
    numbers.put_all(f"{title}gradients of weights", [_gradient(parameter) for parameter in decoder.parameters()])


def _gradient(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def _trained(numbers: Numbers, name: str) -> None:
    """Train frozen features for three iterations, as in a run."""
    spec = DecoderSpec(name=name, lr=1e-3)  # type: ignore[arg-type]
    run = Run(make("freeze"), tiny.protocol(iterations=3, decoder=spec), tiny.DEEPER, small(name))
    run.train()
    for key, value in run.numbers.items():
        numbers[f"trained: {key}"] = value
    numbers.put("trained: logits", run.logits())
    numbers.put("trained: modules in train mode", _training(run))


def _training(run: Run) -> int:
    run.trainer.enter(run.trainer.timeline[-1].phase)
    return sum(module.training for module in run.segmenter.decoder.modules())


def _linked() -> Numbers:
    """Mask2Former with Rein's queries."""
    spec: Any = DecoderSpec(name="mask2former", lr=1e-3)
    fixed = tiny.protocol(iterations=2, decoder=spec)
    run = Run(make("rein", tokens=QUERIES), fixed, tiny.DEEPER, small("mask2former"))
    numbers = run.numbers
    run.train()
    numbers.put("logits", run.logits())
    numbers.put_all("weights", [value for name, value in sorted(run.method.trained().items())])
    return numbers


def _full_size() -> Numbers:
    numbers = Numbers()
    torch.set_default_dtype(torch.float32)  # half the time; initial weights are drawn in float32 in any run
    try:
        decoder = build_decoder(DecoderSpec(name="mask2former", lr=1e-3), DIM, tiny.CLASSES, 0)
    finally:
        torch.set_default_dtype(torch.float64)
    tensors = {name: tensor for name, tensor in decoder.state_dict().items() if tensor.is_floating_point()}
    numbers.put_tree("shapes", {name: list(tensor.shape) for name, tensor in tensors.items()})
    numbers.put("root mean squares", [float(tensor.double().square().mean().sqrt()) for tensor in tensors.values()])
    numbers.put("sums", [float(tensor.double().sum()) for tensor in tensors.values()])
    return numbers
