"""Tiny backbones of every architecture, images, a protocol and a segmenter, filled with fixed numbers."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from benchmark.check.micro.digest import noise
from benchmark.data.loader import TrainingItem
from benchmark.models import backbone as building
from benchmark.models.backbone import Backbone
from benchmark.models.catalogue import BackboneSpec, fed_with, find_backbone
from benchmark.models.decoder import Decoder
from benchmark.models.segmenter import Segmenter
from benchmark.protocol import Augmentation, DecoderSpec, Protocol, Split

CLASSES = 5
SIZE = (44, 52)
"""Height and width of the images: not multiples of the patch size, so that the backbone pads."""
BATCH = 2
SMALL: dict[str, Any] = {"embed_dim": 48, "num_heads": 3, "img_size": 32, "patch_size": 8}
PLAIN = BackboneSpec(
    "plain", "vit_small_patch14_reg4_dinov2.lvd142m", (0, 2, 3), "none",
    {**SMALL, "depth": 5, "drop_path_rate": 0.2},
)  # fmt: skip
"""Class and register tokens, LayerScale, drop path; a block between two that the decoder reads, and one after them."""


SHORT = replace(PLAIN, name="short", out_indices=(0, 1), options={**PLAIN.options, "depth": 2})


DEEPER = replace(PLAIN, name="deeper", out_indices=(0, 1, 2, 3), options={**PLAIN.options, "depth": 4})
"""For decoders, which read four levels."""


def shrunk(name: str) -> BackboneSpec:
    """Return the backbone of the catalogue with two narrow blocks and small images."""
    spec = fed_with(find_backbone(name), "own")
    options = {**spec.options, **SMALL, "depth": 2}
    if spec.timm.startswith("samvit"):
        options |= {"window_size": 3, "global_attn_indexes": (1,)}
    return replace(spec, out_indices=(0, 1), options=options)


def backbone(spec: BackboneSpec = PLAIN) -> Backbone:
    """Build a tiny backbone whose weights are fixed numbers."""
    if spec.name not in _BUILT:
        made = Backbone(building._vit(spec, spec.options), spec)
        fill(made.vit, spec.name)
        _BUILT[spec.name] = made
    return deepcopy(_BUILT[spec.name])


_BUILT: dict[str, Backbone] = {}


def fill(module: nn.Module, seed: str) -> None:
    """Overwrite all parameters: matrices of unit gain, norms and factors near 1, the rest small."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            values = torch.from_numpy(noise(f"{seed} {name}", *parameter.shape)).to(parameter.dtype)
            if parameter.ndim > 1 and "pos" not in name and "token" not in name:
                parameter.copy_(values * (3 / parameter[0].numel()) ** 0.5)
            elif name.endswith(("weight", "gamma", "gamma_1", "gamma_2")):
                parameter.copy_(1 + values / 4)
            else:
                parameter.copy_(values / 4)


class Frames(Dataset[TrainingItem]):
    """Images of noise over blocks of classes, of which every fifth pixel row is unlabelled."""

    def __init__(self, size: tuple[int, int] = SIZE) -> None:
        self.size = size

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, position: int) -> TrainingItem:
        return {"image": image(f"frame {position}", *self.size), "label": label(position, *self.size), "id": "made"}


def image(name: str, height: int, width: int) -> Tensor:
    """Return an image (3, height, width) with whole values in 0..255."""
    return torch.from_numpy(noise(name, 3, height, width)).add(1).mul(127.5).round()


def label(shift: int, height: int, width: int) -> Tensor:
    """Return classes (height, width) in blocks of 11 x 7 pixels, 255 in every fifth row."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    found = (rows // 11 * 2 + columns // 7 + shift) % CLASSES
    return torch.where(rows % 5 == 4, 255, found)


def batch(size: tuple[int, int] = SIZE) -> tuple[Tensor, Tensor]:
    """Return images (2, 3, H, W) and labels (2, H, W)."""
    items = [Frames(size)[position] for position in range(BATCH)]
    return torch.stack([item["image"] for item in items]), torch.stack([item["label"] for item in items])


def protocol(**changes: Any) -> Protocol:
    """Return a protocol of a few iterations; ``changes`` are fields."""
    split = Split(dataset="none", split="none")
    fields: dict[str, Any] = {
        "name": "micro", "title": "", "source": split, "validation": split, "targets": {"none": split},
        "iterations": 5, "batch": BATCH, "lr_warmup": 2, "backbone": "plain",
        "augmentation": Augmentation(short_edge=(32, 32), crop=32),
        "decoder": DecoderSpec(lr=1e-3, channels=8, warmup=1),
    }  # fmt: skip
    return Protocol(**fields | changes)


class Head(Decoder):
    """A 1 x 1 convolution of all levels: the cheapest decoder through which every level gets a gradient."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, CLASSES, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return class logits (B, C, h, w)."""
        return self.conv(torch.cat(features, 1))


def segmenter(spec: BackboneSpec = PLAIN, decoder: Decoder | None = None) -> Segmenter:
    """Return a tiny backbone with a :class:`Head` or the given decoder, and unequal class weights."""
    made = backbone(spec)
    head = Head(len(made.out_indices) * made.embed_dim) if decoder is None else decoder
    fill(head, "decoder")
    return Segmenter(made, head, torch.linspace(0.5, 1.5, CLASSES))
