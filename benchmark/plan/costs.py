"""What a run costs: operations and memory, from small runs of the real architecture and its decoder.

What the backward pass needs is counted in forward passes of two small images, with the method attached; so is the
decoder's part of the operations. The backbone's is arithmetic: multiplications and additions, with N tokens, blocks
whose matrices hold P weights, width D and L blocks, of a forward pass 2 P N + 4 N² D L; the gradient of features takes
as much, that of all weights as much again, of a part of the weights its share. Windowed attention counts as if it were
not, and what methods add does not.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from benchmark.common import rng
from benchmark.method import Method
from benchmark.models.backbone import Backbone, checkpoint_blocks
from benchmark.models.decoder import Decoder
from benchmark.models.decoders import build_decoder
from benchmark.models.segmenter import windows
from benchmark.training import checkpoint as checkpoints

if TYPE_CHECKING:
    from benchmark.method import Phase
    from benchmark.protocol import Protocol, Split
    from benchmark.runs.job import Job

SIDES = (4, 8)
"""Of the maps that the decoder is run on, in patches; all it does grows with the area, or not at all."""
SMALL = ((4, 6), (8, 10))
"""Of the images that the backbone is run on, in patches; what it keeps, attention matrices apart, does so, too."""
ESTIMATE_PASSES = 2
"""An iteration that estimates looks at x and x′ (ChildTune-D at x alone)."""


@dataclass(frozen=True)
class DecoderCost:
    """Of one image of ``area`` patches: ``fixed + slope * area``, operations of a forward pass and bytes kept."""

    parameters: int
    flops: tuple[float, float]
    kept: tuple[float, float]

    def forward(self, area: int) -> float:
        """Return the operations of a forward pass, losses included."""
        return self.flops[0] + self.flops[1] * area

    def memory(self, area: int) -> float:
        """Return the bytes that are kept for a backward pass, in float32."""
        return self.kept[0] + self.kept[1] * area


@dataclass(frozen=True)
class Cost:
    """Of one run.

    Attributes:
        trained: backbone-side values that the method trains.
        phases: the method's, the decoder's warm-up first.
        training: operations, all iterations.
        scoring: operations, all scorings of the images that are known.
        memory: bytes at the peak of one process: weights, gradients, optimizer states, features.
        checkpoint: bytes on disk while the run is unfinished.
        kept: bytes on disk afterwards, without confusions.
    """

    trained: int
    phases: tuple[Phase, ...]
    training: float
    scoring: float
    memory: float
    checkpoint: float
    kept: float


def decoder_cost(protocol: Protocol, backbone: Backbone, classes: int) -> DecoderCost:
    """Run the protocol's decoder forward on two small images and tell what one of any size takes."""
    decoder = build_decoder(protocol.decoder, backbone.embed_dim, classes, seed=0)
    (flops, kept), (more, larger) = (_measured(decoder, backbone, side, classes) for side in SIDES)
    areas = (SIDES[0] ** 2, SIDES[1] ** 2)
    count = sum(parameter.numel() for parameter in decoder.parameters())
    return DecoderCost(count, _line(areas, (flops, more)), _line(areas, (kept, larger)))


def _measured(decoder: Decoder, backbone: Backbone, side: int, classes: int) -> tuple[int, int]:
    features = [torch.zeros(1, backbone.embed_dim, side, side, requires_grad=True) for _ in backbone.out_indices]
    pixels = side * backbone.patch_size
    labels = (torch.arange(pixels) * classes // pixels).expand(1, pixels, pixels).contiguous()
    with FlopCounterMode(display=False) as counter:
        kept = kept_for_backward(lambda: decoder.losses(features, labels, None), decoder)
    return counter.get_total_flops(), kept


def feature_cost(backbone: Backbone) -> tuple[float, float]:
    """Run a backbone, with a method attached and in train mode, on two small images; tell what it keeps of one.

    On torch's meta device, where a tensor has a shape and no memory, a backbone of any size takes its real course.
    Attention matrices, there the only tensors (..., N, N) as no image is square, are left out: fused attention does
    not keep them.

    Returns:
        ``fixed, slope``: bytes in float32 of an image of N patches are fixed + slope * N.
    """
    patch, kept = backbone.patch_size, []
    for height, width in SMALL:
        image = torch.zeros(1, 3, height * patch, width * patch, device="meta")
        kept.append(kept_for_backward(lambda image=image: backbone(image), backbone, fused=True))  # type: ignore[misc]
    (a, b), (c, d) = SMALL
    return _line((a * b, c * d), (kept[0], kept[1]))


def kept_for_backward(run: Callable[[], Any], model: nn.Module, *, fused: bool = False) -> int:
    """Return the bytes that autograd keeps of ``run``, which calls ``model``, its parameters apart.

    Args:
        run: a forward pass.
        model: whose parameters it reads.
        fused: leave out (..., N, N).
    """
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that no number is given twice

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        matrix = fused and tensor.ndim > 2 and tensor.shape[-1] == tensor.shape[-2]
        if storage._cdata not in own and not matrix:
            kept[storage._cdata] = storage
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        result = run()
    assert result is not None  # while it lives, so does what is kept for it
    return sum(storage.nbytes() for storage in kept.values())


def _line(at: tuple[int, int], values: tuple[float, float]) -> tuple[float, float]:
    slope = (values[1] - values[0]) / (at[1] - at[0])
    return values[0] - slope * at[0], slope


def cost(job: Job, architecture: Backbone, decoder: DecoderCost, images: dict[str, int], processes: int = 1) -> Cost:
    """Return what one run takes.

    Args:
        job: the run.
        architecture: its backbone on torch's meta device; a copy is attached to.
        decoder: of :func:`decoder_cost`.
        images: how many each part of the protocol that is scored has, as far as that is known.
        processes: that share each batch.

    Raises:
        UserError: the method cannot serve the backbone, its phases do not fit, a batch cannot be divided so.
    """
    from benchmark.training.schedule import timeline

    protocol, method, backbone = job.spec.protocol, job.spec.make_method(), deepcopy(architecture)
    method.attach(backbone, rng.torch_rng(0, "method"))
    if (perturbation := job.spec.make_perturbation()) is not None:
        perturbation.join(method)
    trained = method.trainable()
    tunable = sum(p.numel() for p in backbone.parameters() if p.requires_grad)
    phases = tuple(dict.fromkeys(timeline(method, protocol)))
    total = sum(p.numel() for p in backbone.parameters()) + decoder.parameters
    dense = trained == tunable
    # A chosen weight is kept as a position and a value.
    kept = 8 * trained
    if type(method).delta is Method.delta:
        kept = 4 * sum(tensor.numel() for tensor in method.trained().values())
    method.train_mode()
    if perturbation is not None:
        perturbation.eval()  # it keeps next to nothing, and of one image has nothing to draw from
    training = sum(_operations(job, phase, architecture, decoder, tunable) for phase in phases)
    memory = _features(job, backbone, decoder, processes)
    memory += 4.0 * total + 4 * (tunable + decoder.parameters) * (2 if processes > 1 else 1)
    # Estimates are gone when moments come; while they grow, a batch's share of them stands where gradients do.
    estimates = method.estimates()
    memory += max((8 if dense else 12) * trained, 4 * method.estimates_in_memory()) + 8 * decoder.parameters
    return Cost(
        trained, phases, training, _scoring(protocol, architecture, decoder, images), memory,
        checkpoint=checkpoints.size(total, decoder.parameters, trained, tunable, estimates),
        kept=kept + 4.0 * decoder.parameters,
    )  # fmt: skip


def _operations(job: Job, phase: Phase, architecture: Backbone, decoder: DecoderCost, tunable: int) -> float:
    """Return the operations of a phase's iterations."""
    crop = (job.spec.protocol.augmentation.crop, job.spec.protocol.augmentation.crop)
    once, area = forward(architecture, crop), patches(architecture, crop)
    image = once + 3 * decoder.forward(area)
    if tunable and (phase.backbone or phase.estimate):
        reach = min(tunable / sum(p.numel() for p in architecture.parameters()), 1.0)
        image += once * (1 + reach + job.runtime.checkpointing)
    return image * job.spec.protocol.batch * phase.iterations * (ESTIMATE_PASSES if phase.estimate else 1)


def _features(job: Job, backbone: Backbone, decoder: DecoderCost, processes: int) -> float:
    """Return the bytes that a step keeps for its backward pass, of the images that a process sees at once."""
    from benchmark.training.ranks import images_per_rank

    crop, steps = job.spec.protocol.augmentation.crop, job.runtime.accumulate
    area = patches(backbone, (crop, crop))
    at_once = images_per_rank(job.spec.protocol, processes, steps) // steps
    fixed, slope = feature_cost(backbone)
    again = 0.0
    if job.runtime.checkpointing:
        again = (fixed + slope * area) / backbone.depth  # of one block at a time
        checkpoint_blocks(backbone)
        fixed, slope = feature_cost(backbone)
    width = 2 if job.spec.protocol.precision == "auto" else 1  # bfloat16 halves it
    return at_once * ((fixed + slope * area + again) / width + decoder.memory(area))


def _scoring(protocol: Protocol, backbone: Backbone, decoder: DecoderCost, images: dict[str, int]) -> float:
    spec, total = protocol.evaluation, 0.0
    for part, count in images.items():
        split = protocol.splits()[part]
        size = _seen(split, protocol)
        if spec.mode == "slide" and spec.crop and spec.stride:
            lots = [len(windows(length, spec.crop, spec.stride)) for length in size]
            window = (min(size[0], spec.crop), min(size[1], spec.crop))
            each = lots[0] * lots[1] * (forward(backbone, window) + decoder.forward(patches(backbone, window)))
        else:
            each = forward(backbone, size) + decoder.forward(patches(backbone, size))
        total += each * count * (spec.times if part in protocol.targets else 1)
    return total


def _seen(split: Split, protocol: Protocol) -> tuple[int, int]:
    """Return (height, width) at which the network sees an image; of one without a stated size, four crops."""
    if split.test_size is not None:
        return split.test_size[1], split.test_size[0]
    return 2 * protocol.augmentation.crop, 2 * protocol.augmentation.crop


def patches(backbone: Backbone, size: tuple[int, int]) -> int:
    """Return how many patches an image of (height, width) has."""
    return -(-size[0] // backbone.patch_size) * -(-size[1] // backbone.patch_size)


def tokens(backbone: Backbone, size: tuple[int, int]) -> int:
    """Return how many tokens: patches and what stands before them."""
    return patches(backbone, size) + backbone.prefix_tokens


def forward(backbone: Backbone, size: tuple[int, int]) -> float:
    """Return the operations of the backbone's forward pass over one image of (height, width)."""
    count = tokens(backbone, size)
    weights = sum(p.numel() for p in backbone.blocks.parameters() if p.ndim == 2)
    embedding = sum(p.numel() for p in backbone.vit.patch_embed.parameters() if p.ndim > 1)
    return 2.0 * count * (weights + embedding) + 4.0 * count**2 * backbone.embed_dim * backbone.depth
