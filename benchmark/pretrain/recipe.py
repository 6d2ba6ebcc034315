"""What a pre-training run is: one frozen, hashable set of numbers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

NAME = "vit-tiny-streets"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, besides the renderer's version and the machine's rounding.

    Attributes:
        steps: optimizer steps; the cosine schedule ends with them.
        frames: geometries rendered of the domain ``world``.
        styles: appearances of each geometry.
        seed: of all chance.
        batch: crops of 128 x 128 per step; every other step takes half as many frames of 128 x 256.
        lr: AdamW's, at its peak.
        weight_decay: on matrices; biases, norms and positions have none.
        warmup: share of the steps in which the learning rate rises linearly.
        clip: bound on the gradients' global norm.
        zoom: smallest and largest magnification of a crop, log-uniform.
        auxiliary: weight of the loss at a single tap (in turn), relative to that at all taps together.
        bf16: whether forward passes run under bfloat16 autocast.
    """

    steps: int = 12000
    frames: int = 16000
    styles: int = 2
    seed: int = 0
    batch: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    clip: float = 1.0
    zoom: tuple[float, float] = (0.75, 2.0)
    auxiliary: float = 0.5
    bf16: bool = True

    def fingerprint(self, data_version: str) -> str:
        """Return the SHA-256 of the recipe and the renderer's version."""
        text = json.dumps({**asdict(self), "data": data_version}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
