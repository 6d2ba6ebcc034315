"""Estimated operations and memory of a run, from small runs of the real architecture and its decoder.

The memory saved for the backward pass is measured in forward passes of two small images with the method attached, and
extrapolated linearly in the area; so are the decoder's operations. The backbone's operations are computed: a forward
pass over N tokens with L blocks of width D whose matrices have P weights takes 2 P N + 4 N² D L multiplications and
additions. The gradient with respect to features takes as many again, and the gradient with respect to weights as many
times the fraction of weights that train. Windowed attention is counted as global attention. Modules that methods add
are not counted.
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
from benchmark.parameters.counting import unreached
from benchmark.training import checkpoint as checkpoints

if TYPE_CHECKING:
    from benchmark.method import Phase
    from benchmark.protocol import Protocol, Split
    from benchmark.runs.job import Job

SIDES = (4, 8)
"""Sides in patches of the feature maps that the decoder is measured on; its cost is constant plus linear in area."""
SMALL = ((4, 6), (8, 10))
"""Sizes in patches of the images that the backbone is measured on; saved memory is linear in area without attention."""


@dataclass(frozen=True)
class DecoderCost:
    """Cost of one image of ``area`` patches: each pair (fixed, slope) stands for ``fixed + slope * area``.

    Attributes:
        parameters: of the decoder.
        flops: operations of a forward pass.
        kept: bytes saved for the backward pass.
    """

    parameters: int
    flops: tuple[float, float]
    kept: tuple[float, float]

    def forward(self, area: int) -> float:
        """Return the operations of a forward pass including the losses."""
        return self.flops[0] + self.flops[1] * area

    def memory(self, area: int) -> float:
        """Return the bytes saved for the backward pass, in float32."""
        return self.kept[0] + self.kept[1] * area


@dataclass(frozen=True)
class Cost:
    """Cost of one run.

    Attributes:
        trainable: parameters that get a gradient, decoder excluded; all of them if the method selects single weights.
        phases: the decoder's warm-up, then the method's phases.
        training: operations of all iterations.
        evaluation: operations of all evaluations, for splits with a known number of images.
        memory: peak bytes of one rank: weights, gradients, optimizer states, saved activations.
        checkpoint: bytes on disk until the run is finished.
        kept: bytes on disk afterwards, without confusions.
    """

    trainable: int
    phases: tuple[Phase, ...]
    training: float
    evaluation: float
    memory: float
    checkpoint: float
    kept: float


def decoder_cost(protocol: Protocol, backbone: Backbone, classes: int) -> DecoderCost:
    """Return the decoder's cost for images of any size, from forward passes of two small images."""
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
    """Measure the memory that a backbone in train mode saves for the backward pass of one image.

    Two small images are run on the meta device, where tensors have shapes but no data, so any backbone fits. A method
    may be attached. Attention matrices are not counted, since fused attention does not save them; as no image is
    square, they are the only tensors of shape (..., N, N).

    Returns:
        ``fixed, slope``: an image of N patches takes ``fixed + slope * N`` bytes in float32.
    """
    patch, kept = backbone.patch_size, []
    for height, width in SMALL:
        image = torch.zeros(1, 3, height * patch, width * patch, device="meta")
        kept.append(kept_for_backward(lambda image=image: backbone(image), backbone, fused=True))  # type: ignore[misc]
    (a, b), (c, d) = SMALL
    return _line((a * b, c * d), (kept[0], kept[1]))


def kept_for_backward(run: Callable[[], Any], model: nn.Module, *, fused: bool = False) -> int:
    """Return the bytes that autograd saves during ``run``, without the parameters of ``model``.

    Args:
        run: a forward pass of ``model``.
        model: its parameters are not counted.
        fused: do not count tensors of shape (..., N, N).
    """
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}  # keeps storages alive, so that no address is reused

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        matrix = fused and tensor.ndim > 2 and tensor.shape[-1] == tensor.shape[-2]
        if storage._cdata not in own and not matrix:
            kept[storage._cdata] = storage
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        result = run()
    assert result is not None  # keeps the graph, and with it the saved tensors, alive
    return sum(storage.nbytes() for storage in kept.values())


def _line(at: tuple[int, int], values: tuple[float, float]) -> tuple[float, float]:
    slope = (values[1] - values[0]) / (at[1] - at[0])
    return values[0] - slope * at[0], slope


def cost(job: Job, architecture: Backbone, decoder: DecoderCost, images: dict[str, int], processes: int = 1) -> Cost:
    """Return the cost of one run.

    Args:
        job: the run.
        architecture: its backbone on the meta device; the method is attached to a copy.
        decoder: result of :func:`decoder_cost`.
        images: number of images of each evaluated split, where known.
        processes: ranks that split each batch.

    Raises:
        UserError: the method does not support the backbone, its phases do not fit, or the batch cannot be split.
    """
    from benchmark.training.schedule import phases as phases_of

    protocol, method, backbone = job.spec.protocol, job.spec.make_method(), deepcopy(architecture)
    method.attach(backbone, rng.torch_rng(0, "method"))
    if (perturbation := job.spec.make_perturbation()) is not None:
        perturbation.join(method)
    trainable = method.trainable()
    tunable = sum(p.numel() for p in backbone.parameters() if p.requires_grad)
    phases = tuple(phase for phase in phases_of(method, protocol) if phase.iterations)
    total = sum(p.numel() for p in backbone.parameters()) + decoder.parameters
    dense = trainable == tunable
    # A selected weight is saved as a position and a value.
    kept = 8 * trainable
    if type(method).delta is Method.delta:
        kept = 4 * sum(tensor.numel() for tensor in method.trained().values())
    method.train_mode()
    if perturbation is not None:
        perturbation.eval()  # it saves almost nothing, and needs more than one image in train mode
    training = sum(_operations(job, phase, architecture, decoder, tunable) for phase in phases)
    memory = _features(job, backbone, decoder, processes)
    memory += 4.0 * total + 4 * (tunable + decoder.parameters) * (2 if processes > 1 else 1)
    # Estimates are freed before optimizer moments are allocated; a batch's part of them takes the place of gradients.
    estimates = method.stored_values()
    memory += max((8 if dense else 12) * trainable, 4 * method.peak_values()) + 8 * decoder.parameters
    (lost,) = unreached(method, protocol.decoder)
    return Cost(
        trainable - lost, phases, training, _evaluation(protocol, architecture, decoder, images), memory,
        checkpoint=checkpoints.size(total, decoder.parameters, trainable, tunable, estimates),
        kept=kept + 4.0 * decoder.parameters,
    )  # fmt: skip


def _operations(job: Job, phase: Phase, architecture: Backbone, decoder: DecoderCost, tunable: int) -> float:
    """Return the operations of a phase's iterations."""
    crop = (job.spec.protocol.augmentation.crop, job.spec.protocol.augmentation.crop)
    once, area = forward(architecture, crop), patches(architecture, crop)
    image = once + 3 * decoder.forward(area)
    if tunable and (phase.backbone or phase.estimate):
        fraction = min(tunable / sum(p.numel() for p in architecture.parameters()), 1.0)
        image += once * (1 + fraction + job.runtime.checkpointing)
    return image * job.spec.protocol.batch * phase.iterations * phase.passes


def _features(job: Job, backbone: Backbone, decoder: DecoderCost, processes: int) -> float:
    """Return the bytes that a rank saves for the backward pass of one micro-batch."""
    from benchmark.training.ranks import images_per_rank

    crop, steps = job.spec.protocol.augmentation.crop, job.runtime.accumulate
    area = patches(backbone, (crop, crop))
    at_once = images_per_rank(job.spec.protocol, processes, steps) // steps
    fixed, slope = feature_cost(backbone)
    again = 0.0
    if job.runtime.checkpointing:
        again = (fixed + slope * area) / backbone.depth  # recomputed one block at a time
        checkpoint_blocks(backbone)
        fixed, slope = feature_cost(backbone)
    width = 2 if job.spec.protocol.precision == "auto" else 1  # bfloat16 takes half
    return at_once * ((fixed + slope * area + again) / width + decoder.memory(area))


def _evaluation(protocol: Protocol, backbone: Backbone, decoder: DecoderCost, images: dict[str, int]) -> float:
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
    """Return the (height, width) of an image at evaluation; without ``test_size``, the area of four crops."""
    if split.test_size is not None:
        return split.test_size[1], split.test_size[0]
    return 2 * protocol.augmentation.crop, 2 * protocol.augmentation.crop


def patches(backbone: Backbone, size: tuple[int, int]) -> int:
    """Return the number of patches of an image of (height, width)."""
    return -(-size[0] // backbone.patch_size) * -(-size[1] // backbone.patch_size)


def tokens(backbone: Backbone, size: tuple[int, int]) -> int:
    """Return the number of tokens: patches and prefix tokens."""
    return patches(backbone, size) + backbone.prefix_tokens


def forward(backbone: Backbone, size: tuple[int, int]) -> float:
    """Return the operations of the backbone's forward pass for one image of (height, width)."""
    count = tokens(backbone, size)
    weights = sum(p.numel() for p in backbone.blocks.parameters() if p.ndim == 2)
    embedding = sum(p.numel() for p in backbone.vit.patch_embed.parameters() if p.ndim > 1)
    return 2.0 * count * (weights + embedding) + 4.0 * count**2 * backbone.embed_dim * backbone.depth
