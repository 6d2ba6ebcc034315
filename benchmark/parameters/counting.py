"""A method's trainable parameters on a backbone, without the backbone's weights, and those that get no gradient."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from types import SimpleNamespace

import torch
from torch import Tensor

from benchmark.common import rng
from benchmark.method import Method, Perturbation
from benchmark.models.backbone import Backbone, build_backbone
from benchmark.models.decoder import DecoderSpec, queries_taken
from benchmark.models.decoders import build_decoder

SIDE = 4  # of the decoder's input, in patches


def count(method: Method, backbone: str, perturbation: Perturbation | None = None) -> int:
    """Return how many parameters ``method`` trains on a backbone, decoder excluded.

    The method is attached to the real architecture on the meta device, where tensors have shapes but no data.
    A ``perturbation`` adds no parameters; it is attached too, to check that the backbone supports it.

    Raises:
        UserError: no such backbone, or the method or perturbation does not support it.
    """
    method.attach(deepcopy(architecture(backbone)), rng.torch_rng(0, "method"))
    if perturbation is not None:
        perturbation.join(method)
    return method.trainable()


@cache
def architecture(name: str) -> Backbone:
    """Return the architecture on the meta device. It is cached: copy it before attaching a method."""
    with torch.device("meta"):
        return build_backbone(name, pretrained=False)


def unreached(method: Method, *decoders: DecoderSpec) -> list[int]:
    """Return how many of a method's parameters get no gradient from the losses of each decoder.

    A backward pass through the decoder shows which block outputs it uses, and whether it uses object queries. The
    parameters that get a gradient from these are in their autograd graphs, which exist on the meta device too. Losses
    of the method's own are omitted: they take the same block outputs.

    Args:
        method: attached to a backbone. If it selects single weights, the result is 0, since it is not known yet how
            many of them it selects in matrices without gradient.
        decoders: decoder sections of protocols.
    """
    if type(method).delta is not Method.delta:
        return [0] * len(decoders)
    backbone, queries = method.backbone, method.queries()
    side = 2 * backbone.patch_size
    outputs = backbone(torch.zeros(1, 3, side, side, device=next(backbone.parameters()).device))
    tuned = [parameter for group in method.parameter_groups() for parameter in group["params"]]
    counts = []
    for decoder in decoders:
        takes, asks = _used(decoder.name, decoder.channels, backbone.embed_dim, len(outputs))
        roots = [output for output, taken in zip(outputs, takes, strict=True) if taken]
        if queries is not None and asks:
            roots.append(queries())
        reached = _parameters(roots)
        counts.append(sum(parameter.numel() for parameter in tuned if id(parameter) not in reached))
    return counts


@cache
def _used(name: str, channels: int, dim: int, levels: int) -> tuple[tuple[bool, ...], bool]:
    """Return which of the block outputs get a gradient from the decoder's losses, and whether object queries do."""
    spec = SimpleNamespace(name=name, channels=channels)
    decoder = build_decoder(spec, dim, num_classes=4, seed=0)
    queries = torch.zeros(queries_taken(spec) or (1, 1), requires_grad=True)
    decoder.link(lambda: queries, seed=0)
    outputs = [torch.zeros(1, dim, SIDE, SIDE, requires_grad=True) for _ in range(levels)]
    losses = decoder.losses(outputs, torch.arange(SIDE).expand(1, SIDE, SIDE), None)
    torch.stack(list(losses.values())).sum().backward()
    return tuple(output.grad is not None for output in outputs), queries.grad is not None


def _parameters(roots: list[Tensor]) -> set[int]:
    """Return the ids of the parameters that the backward pass from ``roots`` reaches."""
    waiting = [root.grad_fn for root in roots if root.grad_fn is not None]
    seen, found = set(waiting), set()
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        new = {following for following, _ in node.next_functions if following is not None} - seen
        seen |= new
        waiting += new
    return found
