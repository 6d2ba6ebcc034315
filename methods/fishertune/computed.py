"""Tensors that are computed when they are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from torch import Tensor


class Computed(Mapping[str, Tensor]):
    """Tensors by name, each computed anew whenever it is asked for: all of them are never in memory at once.

    Args:
        names: in their order.
        compute: returns the tensor of a name, always the same.
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
