"""The hyperparameters of a pre-training run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

NAME = "vit-tiny-streets"


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the weights, apart from the renderer's version and the machine's rounding.

    Attributes:
        steps: number of optimizer steps and length of the cosine schedule.
        frames: number of geometries rendered of the domain ``world``.
        styles: styles per geometry.
        seed: seed of all random numbers.
        batch: crops of 128 x 128 per step; every other step uses half as many frames of 128 x 256.
        lr: peak learning rate of AdamW.
        weight_decay: for matrices; biases, norms and position embeddings have none.
        warmup: fraction of the steps in which the learning rate increases linearly.
        clip: maximum global norm of the gradients.
        zoom: smallest and largest zoom of a crop, drawn log-uniformly.
        auxiliary: weight of the loss on a single block output (in turn), relative to the loss on all together.
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
