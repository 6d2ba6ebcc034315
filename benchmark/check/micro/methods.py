"""Cases of every registered method: ``method/NAME``, on other architectures, and with each of its settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import torch
from pydantic import ValidationError

from benchmark.check.micro import tiny
from benchmark.check.micro.digest import Numbers
from benchmark.check.micro.kept import restored
from benchmark.check.micro.training import Run
from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.method import Budget, Method
from benchmark.protocol import DecoderSpec, Protocol
from benchmark.training.schedule import gradient_evaluations

PACKAGES = ("baselines.", "methods.")
Compute = Callable[[], Numbers]
ARCHITECTURES = ("eva02-s", "eva02-b", "sam-b", "dinov3-s")
"""Backbones whose blocks methods treat in their own ways: fused projections with separate biases, separate
projections, windows, no biases."""
QUICK: dict[str, Any] = {"lr": 3e-3, "images": 4, "dropout": 0.1, "intervals": 2}
"""Settings of any method that has them, so that a few steps have an effect on a tiny model."""


def cases() -> dict[str, Compute]:
    """Return the cases of all methods of this project."""
    found: dict[str, Compute] = {}
    for name in own():
        found[f"method/{name}"] = partial(_whole, name)
        if registry.find("method", name).arm_of:
            continue
        for architecture in ARCHITECTURES:
            found[f"method/{name} on {architecture}"] = partial(_elsewhere, name, architecture)
        if not _derived(name):
            fields = registry.find("method", name).Settings.model_fields
            choices = {field: _choices(info.annotation, info.default) for field, info in fields.items()}
            found |= {
                f"method/{name} with {field}": partial(_settings, name, [{field: value} for value in values])
                for field, values in choices.items()
                if values
            }
            if numbers := _other_numbers(name):
                found[f"method/{name} with other numbers"] = partial(_settings, name, [numbers])
    return found


def own() -> dict[str, str]:
    """Return the methods of this project, which have references, and their locations."""
    return {name: place for name, place in registry.names("method").items() if place.startswith(PACKAGES)}


def make(name: str, **settings: Any) -> Method:
    """Create a method with :data:`QUICK` settings, and the given ones."""
    kind: type[Method] = registry.find("method", name)
    quick = {key: value for key, value in QUICK.items() if key in kind.Settings.model_fields}
    return kind(kind.Settings(**{**quick, **settings}))


def started(method: Callable[[], Method], iterations: int = 5, **options: Any) -> Run:
    """Return a run with a decoder warm-up, or without if the method refuses one."""
    try:
        return Run(method(), tiny.protocol(iterations=iterations), **options)
    except UserError:
        return Run(method(), _without_warmup(iterations), **options)


def _without_warmup(iterations: int) -> Protocol:
    return tiny.protocol(iterations=iterations, decoder=DecoderSpec(lr=1e-3, channels=8))


def _whole(name: str) -> Numbers:
    run = started(partial(make, name))
    method, numbers = run.method, run.numbers
    numbers.put("trainable", method.trainable())
    numbers.put("stored values", method.stored_values())
    numbers.put("values in memory", method.peak_values())
    numbers.put_tree("origins", method.settings.origins())
    numbers.put_tree("defaults", type(method).Settings().model_dump(mode="json"))
    numbers.put_tree("gradient evaluations", gradient_evaluations(method, run.trainer.protocol))
    for warmed in (0, 20):
        numbers.put_tree(f"phases after warm-up of {warmed}", _phases(method, warmed))
    numbers.put_all("features at the start", run.features())
    _before_select(method, lambda state: numbers.put_tree("estimate", state))
    run.train()
    numbers.put_tree("state", method.state_dict())
    numbers.put_tree("report", method.report())
    _results(run, name)
    return numbers


def _phases(method: Method, warmed: int) -> Any:
    try:
        return [vars(phase) for phase in method.phases(Budget(100 - warmed, warmed, tiny.BATCH))]
    except UserError:
        return "refused"


def _results(run: Run, name: str) -> None:
    """Collect the trained model's outputs, what has changed, and what remains after saving, loading and merging."""
    method, numbers, backbone = run.method, run.numbers, run.segmenter.backbone
    numbers.put_all("features in train mode", run.features(training=True))
    numbers.put("modules in train mode", sum(module.training for module in backbone.modules()))
    tuned = run.features()
    numbers.put_all("features", tuned)
    numbers.put("logits", run.logits())
    numbers.put_all("trained tensors", [value for _, value in sorted(method.trained().items())])
    _merge(run)
    again, kind = restored(run, name)
    numbers.put(f"{kind}: difference after loading", _apart(tuned, again))
    method.detach()
    after = backbone.vit.state_dict()
    moved = [int((after[key] != value).sum()) for key, value in run.pretrained.items()]
    numbers.put("changed pre-trained values", sum(moved))
    numbers.put("changed by tensor", moved)
    numbers.put("weights", torch.cat([after[key].flatten() for key in run.pretrained]))
    numbers.put("hooks left", sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in backbone.modules()))
    numbers.put("trainable after detaching", sum(p.requires_grad for p in backbone.parameters()))


def _apart(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


def _merge(run: Run) -> None:
    """Collect the merged weights, and how far their model is from the tuned one."""
    weights = _other_weights(run.method)
    run.numbers.put_tree("merged", weights)
    if isinstance(weights, dict):
        plain = tiny.backbone()
        plain.vit.load_state_dict(weights)
        plain.eval()
        with torch.no_grad():
            found = plain((tiny.batch()[0] - run.segmenter.mean) / run.segmenter.std)
        run.numbers.put("difference after merging", _apart(run.features(), found))


# -- other architectures and settings -------------------------------------------------------------------


def _elsewhere(name: str, architecture: str) -> Numbers:
    try:
        run = started(partial(make, name), 2, spec=tiny.shrunk(architecture))
    except UserError:
        refused = Numbers()
        refused.put("refused", True)
        return refused
    run.train()
    numbers = run.numbers
    numbers.put("trainable", run.method.trainable())
    numbers.put_all("features in train mode", run.features(training=True))
    numbers.put_all("features", run.features())
    numbers.put_tree("merged", _other_weights(run.method))
    run.method.detach()
    numbers.put_all("features without the method", run.features())
    return numbers


def _settings(name: str, variants: list[dict[str, Any]]) -> Numbers:
    numbers = Numbers()
    for variant in variants:
        words = " ".join(f"{field}={value}" for field, value in variant.items()) if len(variant) == 1 else "all"
        try:
            run = started(partial(make, name, **variant), 3, spec=tiny.SHORT, score=lambda: 0.5)
        except (UserError, ValidationError):
            numbers.put(f"{words}: refused", True)
            continue
        states: list[Any] = []
        _before_select(run.method, states.append)
        run.train()
        numbers.put_tree(f"{words}: estimate", states)
        numbers.put_tree(f"{words}: state", run.method.state_dict())
        numbers.put_all(f"{words}: features", run.features())
        numbers.put(f"{words}: trainable", run.method.trainable())
        numbers.put_tree(f"{words}: merged", _other_weights(run.method))
    return numbers


def _before_select(method: Method, see: Callable[[Any], None]) -> None:
    """Call ``see`` with the method's state, such as its estimates, before it selects."""
    select = method.select

    def seen() -> None:
        see(method.state_dict())
        select()

    method.select = seen  # type: ignore[method-assign]


def _other_weights(method: Method) -> Any:
    try:
        return method.merged()
    except UserError:
        return "refused"


def _derived(name: str) -> bool:
    """Return whether another method's settings have the same fields, whose choices are tried there."""
    kinds = [registry.find("method", other).Settings for other in registry.main_methods() if other != name]
    own = registry.find("method", name).Settings
    return any(issubclass(own, kind) and own.model_fields.keys() == kind.model_fields.keys() for kind in kinds)


def _choices(annotation: Any, default: Any) -> list[Any]:
    """Return the choices of a setting other than its default: names, switches, some groups, another block."""
    if annotation is bool:
        return [not default]
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return [choice for choice in parts if choice != default]
    if origin is tuple and get_origin(parts[0]) is Literal:
        return [get_args(parts[0])[1:3], get_args(parts[0])[-1:]]
    if origin in (Union, UnionType):  # a place: a name, or the index of a block
        return [choice for part in parts for choice in _choices(part, default)] + [1]
    return []


def _other_numbers(name: str) -> dict[str, Any]:
    """Return other values of all numbers among a method's settings that :data:`QUICK` leaves alone."""
    fields = registry.find("method", name).Settings.model_fields
    numbers = {field: info.default for field, info in fields.items() if field not in QUICK}
    found: dict[str, Any] = {field: value + 1 for field, value in numbers.items() if type(value) is int}
    # A half of two steps is one step, the border between two phases of a method.
    return found | {field: 0.25 if value == 0.5 else 0.5 for field, value in numbers.items() if type(value) is float}
