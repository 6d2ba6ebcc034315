"""Digests of tensors: a few numbers that depend on every element and its position."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DIRECTIONS = ("a", "b")
"""Names of the inner products with fixed vectors. A single one sees every change; two make it improbable that a change
beyond the tolerance hides in the direction of one of them."""

SMALL = 1e-9
"""Smallest root mean square that :meth:`Numbers.put_tree` scales to 1: below may be nothing but rounding."""


def noise(name: str, *shape: int) -> Floats:
    """Return numbers in [-1, 1) that depend on name and position alone (splitmix64), whatever the libraries."""
    x = np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x += np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x ^= x >> np.uint64(shift)
        x *= np.uint64(factor)
    x ^= x >> np.uint64(31)
    return ((x >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1).reshape(shape)


_DIRECTIONS: dict[str, Floats] = {}


def _direction(name: str, length: int) -> Floats:
    """Return ``noise(name, length)``, which is the start of a longer one that is kept."""
    if name not in _DIRECTIONS or len(_DIRECTIONS[name]) < length:
        _DIRECTIONS[name] = noise(name, max(2 * length, 1 << 16))
    return _DIRECTIONS[name][:length]


def fraction(text: str) -> float:
    """Return a number in [0, 1) that is another one for another text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


class Numbers(dict[str, float]):
    """The numbers of a case, by name. The words of a name before the last belong to one object, such as a tensor."""

    def put(self, name: str, value: Any) -> None:
        """Add a number, the :func:`fraction` of a text, or the root mean square and inner products of an array."""
        if isinstance(value, (bool, int, float, np.number)):
            self._once(name, float(value))
        elif isinstance(value, str):
            self._once(f"{name} text", fraction(value))
        else:
            flat = _flat(value)
            self._once(f"{name} rms", float(np.sqrt(np.mean(flat**2))) if len(flat) else 0.0)
            for direction in DIRECTIONS:
                inner = float(flat @ _direction(direction, len(flat))) / math.sqrt(max(len(flat), 1))
                self._once(f"{name} {direction}", inner)

    def put_all(self, name: str, tensors: Iterable[Any]) -> None:
        """Add the digest of several arrays, one after another."""
        parts = [_flat(tensor) for tensor in tensors]
        self.put(name, np.concatenate(parts) if parts else np.zeros(0))

    def put_tree(self, name: str, tree: Any) -> None:
        """Add the digest of all numbers and arrays in nested mappings and sequences, and of their structure.

        Each has the same weight, whatever its magnitude.
        """
        numbers: list[Floats] = []
        words: list[str] = []
        _collect(tree, numbers, words)
        self.put_all(name, numbers)
        self.put(f"{name} structure", " ".join(words))

    def _once(self, name: str, value: float) -> None:
        if name in self:
            raise ValueError(f"two numbers are called {name!r}")
        self[name] = value


def _flat(value: Any) -> Floats:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().double().numpy()
    return np.asarray(value, np.float64).reshape(-1)


def _levelled(flat: Floats) -> Floats:
    """Return an array divided by its root mean square, and the logarithm of that."""
    size = float(np.sqrt(np.mean(flat**2))) if len(flat) else 0.0
    level = math.log1p(size / SMALL)
    return np.append(flat / size, level) if size > SMALL else np.append(flat, level)


def _collect(tree: Any, numbers: list[Floats], words: list[str]) -> None:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            words.append(f"{key}:")
            _collect(value, numbers, words)
    elif isinstance(tree, (list, tuple)):
        words.append(f"[{len(tree)}]")
        for value in tree:
            _collect(value, numbers, words)
    elif isinstance(tree, (bool, int, float, np.number, np.ndarray, torch.Tensor)):
        numbers.append(_levelled(_flat(tree)))
    else:
        words.append(str(tree))
