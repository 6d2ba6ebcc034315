"""Tensors that are computed on access."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from torch import Tensor


class Computed(Mapping[str, Tensor]):
    """A mapping from names to tensors, each computed again on every access, so that they are never all in memory.

    Args:
        names: the keys, in order.
        compute: returns the tensor of a name; must be deterministic.
    """

    def __init__(self, names: Iterable[str], compute: Callable[[str], Tensor]) -> None:
        self._names = dict.fromkeys(names)
        self._compute = compute

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        return self._compute(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
