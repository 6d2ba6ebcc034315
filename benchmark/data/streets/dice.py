"""Random numbers that are the same on every machine.

NumPy guarantees that the raw output of a bit generator never changes, but not that of ``Generator``'s distributions.
All random numbers of an image therefore come from ``random_raw`` and exact arithmetic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
_BLOCK = 512
_UNIT = 1.0 / (1 << 53)


class Dice:
    """A random number generator seeded by a name; different names give independent RNG streams."""

    def __init__(self, *name: str | int) -> None:
        digest = hashlib.sha256("/".join(map(str, name)).encode()).digest()
        self._bits = np.random.PCG64(int.from_bytes(digest[:16], "big"))
        self._block: list[int] = []

    def raw(self) -> int:
        """Return 64 random bits."""
        if not self._block:
            self._block = self._bits.random_raw(_BLOCK).tolist()
        return self._block.pop()

    def unit(self) -> float:
        """Return a number in [0, 1)."""
        return (self.raw() >> 11) * _UNIT

    def uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * self.unit()

    def below(self, count: int) -> int:
        """Return an integer in [0, count)."""
        return (self.raw() >> 11) % count

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.unit() < probability

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of the choices, drawn uniformly."""
        return choices[self.below(len(choices))]

    def weighted(self, choices: Sequence[tuple[T, float]]) -> T:
        """Return one choice of the (choice, weight) pairs, with probability proportional to its weight."""
        at = self.unit() * sum(weight for _, weight in choices)
        for choice, weight in choices:
            at -= weight
            if at < 0:
                return choice
        return choices[-1][0]

    def turn(self, span: float) -> tuple[float, float]:
        """Return (cosine, sine) of a random angle with |angle| <= 2 atan(span); see ``circle``."""
        return circle(self.uniform(-span, span))

    def bytes(self, *shape: int) -> NDArray[np.uint8]:
        """Return random bytes in an array of the given shape."""
        count = 1
        for side in shape:
            count *= side
        words = self._bits.random_raw((count + 7) // 8)
        return words.astype("<u8").view(np.uint8)[:count].reshape(shape)


def circle(t: float) -> tuple[float, float]:
    """Return (cosine, sine) of the angle 2 atan(t), by the rational parametrisation of the unit circle."""
    scale = 1.0 / (1.0 + t * t)
    return (1.0 - t * t) * scale, 2.0 * t * scale


def _ring(count: int) -> tuple[tuple[float, float], ...]:
    """Return ``count`` almost equally spaced points of the unit circle, starting at (1, 0)."""
    points: list[tuple[float, float]] = []
    for step in range(count):
        octant, rest = divmod(8 * step / count, 1.0)
        # t = tan(22.5 deg * rest), to three decimals, so that 2 atan(t) is the angle within the octant.
        t = rest * (0.39270 + 0.02151 * rest * rest)
        c, s = circle(t)
        turn = int(octant)
        half = 0.7071067811865476
        for _ in range(turn):
            c, s = half * (c - s), half * (c + s)
        points.append((c, s))
    return tuple(points)


RING8, RING10, RING12 = _ring(8), _ring(10), _ring(12)
