"""Evaluation of the pre-trained backbone: segmentation with the light decoder on held-out frames.

Augmentation, decoder and iterations are those of the protocol ``streets``; the frames have seeds that no protocol uses.
This is the only module of the package that reads class labels; it does not change the pre-trained weights.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.common.orphans import exit_with_parent
from benchmark.common.rng import numpy_rng
from benchmark.common.statistics import miou
from benchmark.data.augment import train_transform
from benchmark.data.labels import lut
from benchmark.data.streets import VERSION, render
from benchmark.evaluation.evaluate import confusion
from benchmark.models.backbone import Backbone, build_backbone
from benchmark.models.decoders import build_decoder
from benchmark.models.segmenter import Segmenter, inverse_frequency_weights
from benchmark.pretrain.recipe import NAME
from benchmark.protocol import Protocol, load

SOURCE = "game"
TARGETS = ("overcast", "dashcam", "worldwide")
CLASSES = 19
HELD_OUT = 900_000_000  # first seed; seeds of protocols start at 0
Labelled: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True)
class Contender:
    """Initialisation and learning rate of a backbone."""

    name: str
    pretrained: bool
    lr: float  # of the backbone; 0 freezes it


PRETRAINED = Contender("pre-trained, frozen", True, 0.0)
CONTENDERS = (PRETRAINED, Contender("random, frozen", False, 0.0), Contender("from scratch", False, 1e-3))
UPPER_BOUND = "pre-trained, frozen, decoder trained on each target (upper bound)"


def probe(
    weights: Path,
    *,
    seeds: tuple[int, ...] = (0, 1, 2),
    images: int = 600,
    tests: int = 100,
    iterations: int | None = None,
    workers: int = 2,
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Compare pre-trained and random backbones with an upper bound; return a JSON-ready table of mIoU in percent.

    For the upper bound, the decoder is trained on the same number of frames of each target. The difference to the other
    rows is the cost of the domain gap.

    Args:
        weights: safetensors file of the backbone.
        seeds: seeds of decoder, order and augmentation; the frames do not change.
        images: number of training frames.
        tests: number of frames per test domain.
        iterations: training iterations; None for the protocol's.
        workers: processes that render.
        log: called with one line per training run.
    """
    protocol = load("streets")
    steps = iterations or protocol.iterations
    train = labelled_frames(SOURCE, HELD_OUT, images, workers)
    held_out = {name: labelled_frames(name, HELD_OUT + 1_000_000, tests, workers) for name in (SOURCE, *TARGETS)}
    rows = []

    def trained(contender: Contender, frames: list[Labelled], seed: int) -> Segmenter:
        backbone = build_backbone(NAME, pretrained=False, weights=weights if contender.pretrained else None, seed=seed)
        return fit(backbone, contender.lr, frames, protocol, steps, seed)

    for contender in CONTENDERS:
        scores = []
        for seed in seeds:
            segmenter = trained(contender, train, seed)
            scores.append([100 * score(segmenter, frames) for frames in held_out.values()])
            log(f"{contender.name}, seed {seed}: in-domain {scores[-1][0]:.1f}, unseen {np.mean(scores[-1][1:]):.1f}")
        rows.append(_row(contender.name, np.array(scores)))
    upper = np.full((len(seeds), 1 + len(TARGETS)), np.nan)
    for column, name in enumerate(TARGETS, start=1):
        frames = labelled_frames(name, HELD_OUT, images, workers)
        for row, seed in enumerate(seeds):
            upper[row, column] = 100 * score(trained(PRETRAINED, frames, seed), held_out[name])
            log(f"upper bound, seed {seed}: {name} {upper[row, column]:.1f}")
    rows.append(_row(UPPER_BOUND, upper))
    return {
        "conditions": f"mIoU in percent, {len(seeds)} seeds: {images} frames of `{SOURCE}`, {steps} iterations of "
        f"{protocol.batch} crops, light decoder; {tests} frames per test domain. All frames held out; `streets` "
        f"version {VERSION}.",
        "targets": list(TARGETS),
        "rows": rows,
    }


def _row(name: str, scores: NDArray[np.float64]) -> dict[str, Any]:
    """Summarise scores (seeds, 1 + targets); NaN for those not measured."""
    unseen, inside = scores[:, 1:].mean(1), not np.isnan(scores[:, 0]).any()
    return {
        "name": name,
        "in_domain": round(float(scores[:, 0].mean()), 2) if inside else None,
        "unseen": round(float(unseen.mean()), 2),
        "in_domain_std": round(float(scores[:, 0].std()), 2) if inside else None,
        "unseen_std": round(float(unseen.std()), 2),
        "targets": {target: round(float(v), 2) for target, v in zip(TARGETS, scores[:, 1:].mean(0), strict=True)},
    }


def labelled_frames(domain: str, first: int, count: int, workers: int) -> list[Labelled]:
    """Render ``count`` frames with their train ids, from seed ``first`` on."""
    if workers == 1:
        return [_labelled(domain, seed) for seed in range(first, first + count)]
    with ProcessPoolExecutor(workers, get_context("spawn"), exit_with_parent) as pool:
        return list(pool.map(partial(_labelled, domain), range(first, first + count), chunksize=20))


def _labelled(domain: str, seed: int) -> Labelled:
    frame = render(domain, seed)
    return frame.image, lut("cityscapes_label_ids")[frame.label]


def fit(backbone: Backbone, lr: float, frames: list[Labelled], protocol: Protocol, steps: int, seed: int) -> Segmenter:
    """Train the decoder and, unless ``lr`` is 0, the backbone on ``frames``; return the segmenter."""
    pixels = sum(np.bincount(label.ravel(), minlength=256)[:CLASSES] for _, label in frames)
    decoder = build_decoder(protocol.decoder, backbone.embed_dim, CLASSES, seed)
    segmenter = Segmenter(backbone, decoder, inverse_frequency_weights(torch.as_tensor(pixels)))
    backbone.requires_grad_(lr > 0)
    groups = [{"params": list(decoder.parameters()), "lr": protocol.decoder.lr}]
    groups += [{"params": list(backbone.parameters()), "lr": lr}] if lr > 0 else []
    optimizer = torch.optim.AdamW(groups, weight_decay=protocol.decoder.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: (1 - t / steps) ** protocol.power)
    for step in range(steps):
        images, labels = _crops(frames, protocol, step, seed)
        (loss,) = segmenter.losses(images, labels).values()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return segmenter.eval()


def _crops(frames: list[Labelled], protocol: Protocol, step: int, seed: int) -> tuple[Tensor, Tensor]:
    rng = numpy_rng(seed, "probe", step)
    chosen = rng.integers(len(frames), size=protocol.batch)
    crops = [train_transform(frames[i][0], frames[i][1], rng, protocol.augmentation) for i in chosen]
    images = torch.from_numpy(np.stack([image for image, _ in crops])).permute(0, 3, 1, 2).float()
    return images, torch.from_numpy(np.stack([label for _, label in crops])).long()


def score(segmenter: Segmenter, frames: list[Labelled]) -> float:
    """Return the mIoU over ``frames``, between 0 and 1."""
    total = np.zeros((CLASSES, CLASSES), np.int64)
    for image, label in frames:
        logits = segmenter.predict(torch.from_numpy(image).permute(2, 0, 1)[None].float())
        total += confusion(logits[0].argmax(0), torch.from_numpy(label), CLASSES)
    return float(miou(total))
