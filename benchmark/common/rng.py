"""Named RNG streams, independent of each other.

Every source of randomness (data order, the augmentation of one sample, the decoder's initial weights, a method's
initialisation) has a name, and its numbers depend on (seed, name) alone. A method that draws a thousand numbers
therefore trains on exactly the same data as one that draws none.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derive_seed(seed: int, *name: str | int) -> int:
    """Return the 63-bit seed of the RNG stream (seed, name); it is the same on every machine."""
    text = "/".join([str(seed), *map(str, name)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_rng(seed: int, *name: str | int) -> np.random.Generator:
    """Return the NumPy generator of the RNG stream (seed, name)."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *name)))


def torch_rng(seed: int, *name: str | int) -> torch.Generator:
    """Return the torch generator (CPU) of the RNG stream (seed, name)."""
    return torch.Generator().manual_seed(derive_seed(seed, *name))
