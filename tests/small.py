"""A small training run for tests of all methods: random images, a one-layer decoder, the real training loop."""

from __future__ import annotations

import math
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import Dataset

from benchmark.common import registry
from benchmark.data.loader import TrainingItem
from benchmark.method import Method
from benchmark.models.backbone import Backbone
from benchmark.models.decoder import Decoder
from benchmark.models.segmenter import Segmenter
from benchmark.protocol import Augmentation, DecoderSpec, Protocol, Split
from benchmark.training.trainer import Trainer

DEPTH, DIM, PATCH, CLASSES = 3, 48, 8, 4


class Head(Decoder):
    """A one-layer decoder, so that the loss can decrease by training the backbone only."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.conv = nn.Conv2d(3 * DIM, CLASSES, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.conv(torch.cat(features, 1))


class OneBatch(Dataset[TrainingItem]):
    """The same few random images, repeated: one class per quadrant, the first row of pixels unlabelled."""

    def __init__(self, size: tuple[int, int] = (32, 32), batch: int = 2, length: int = 1000) -> None:
        height, width = size
        rng = torch.Generator().manual_seed(2)
        self.images = torch.rand(batch, 3, height, width, generator=rng) * 255
        rows, columns = torch.arange(height)[:, None] >= height // 2, torch.arange(width) >= width // 2
        self.label = rows * 2 + columns.long()
        self.label[0] = 255
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> TrainingItem:
        index = position % len(self.images)
        return {"image": self.images[index], "label": self.label, "id": str(index)}


def protocol(iterations: int, batch: int, decoder_lr: float = 1e-12) -> Protocol:
    split = Split(dataset="none", split="none")
    return Protocol(
        name="memorise",
        title="",
        source=split,
        validation=split,
        targets={"none": split},
        iterations=iterations,
        batch=batch,
        augmentation=Augmentation(short_edge=(32, 32), crop=32),
        decoder=DecoderSpec(lr=decoder_lr),
        backbone="tiny",
    )


def method(name: str, **settings: Any) -> Method:
    """Create a method with a learning rate that has an effect in a few iterations, and a short estimate if any."""
    cls: type[Method] = registry.find("method", name)
    if "lr" in cls.Settings.model_fields:
        settings = {"lr": 3e-3, **settings}
    if "decoder_first" in cls.Settings.model_fields:
        settings = {"decoder_first": 0.0, **settings}
    if "images" in cls.Settings.model_fields:
        settings = {"images": 8, **settings}
    return cls(cls.Settings(**settings))


def train(
    made: Method, backbone: Backbone, iterations: int, data: OneBatch | None = None
) -> tuple[Segmenter, list[float]]:
    """Train with the real training loop; return the segmenter and the losses of the iterations that have one."""
    data = data or OneBatch()
    segmenter = Segmenter(backbone, Head())
    spec = protocol(iterations, len(data.images))
    losses: list[float] = []
    trainer = Trainer(spec, 0, segmenter, made, data, Accelerator(cpu=True))

    def likelihood() -> float:
        labels = data.label.expand(len(data.images), -1, -1)
        with torch.no_grad():
            return math.exp(-sum(loss.item() for loss in segmenter.eval().losses(data.images, labels).values()))

    trainer.run(
        lambda step: {}, tick=lambda step, named: losses.extend([sum(named.values())] if named else []),
        held_out=likelihood,
    )  # fmt: skip
    segmenter.eval()
    return segmenter, losses


def logits(segmenter: Segmenter, data: OneBatch | None = None) -> Tensor:
    with torch.no_grad():
        return segmenter((data or OneBatch()).images)


def bits(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().view(torch.int32).clone()
