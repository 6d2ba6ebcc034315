"""Which images of the protocol's batch are looked at at once: all, or one process's, or one accumulated step's.

Whatever chance gives to images is drawn for the whole batch, and a portion takes its images' rows. What an image
meets thus does not depend on how many processes share the batch, nor on the number of accumulated steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class MicroBatch:
    """One of equal portions of a batch, in the order of its images.

    Attributes:
        index: which, from 0.
        of: how many there are; 1 is the whole batch.
    """

    index: int = 0
    of: int = 1

    def rows(self, everything: Tensor) -> Tensor:
        """Return the portion's rows of what the whole batch has, image by image along the first axis."""
        count = len(everything) // self.of
        return everything[self.index * count : (self.index + 1) * count]

    def drawn(self, draw: Callable[..., Tensor], shape: Sequence[int], rng: torch.Generator) -> Tensor:
        """Return what ``draw`` (``torch.rand``, ``torch.randn``) gives this portion, (shape), images first."""
        return self.rows(draw((shape[0] * self.of, *shape[1:]), generator=rng))

    @contextmanager
    def chance(self) -> Iterator[None]:
        """Within the context dropout and drop path draw for the whole batch and take the portion's rows.

        On a CPU these are the numbers that the whole batch would get at once, from the same state of torch's
        generator. Images must come first in what is dropped from (windows of images do). Dropout inside of fused
        attention is out of reach; no foundation model here has it.
        """
        if self.of == 1:
            yield
            return
        token = _present.set(self)
        try:
            with _Rows(self):
                yield
        finally:
            _present.reset(token)


WHOLE = MicroBatch()
_present: ContextVar[MicroBatch] = ContextVar("micro_batch", default=WHOLE)


def current() -> MicroBatch:
    """Return the portion in whose :meth:`Portion.chance` the caller is, for a hook that draws; else the whole."""
    return _present.get()


class _Rows(TorchFunctionMode):
    def __init__(self, micro_batch: MicroBatch) -> None:
        super().__init__()
        self.micro_batch = micro_batch

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.bernoulli_ and kwargs.get("generator") is None:
            return args[0].copy_(self._kept(*args, **kwargs))
        if func is F.dropout:
            return self._dropout(*args, **kwargs)
        return func(*args, **kwargs)

    def _kept(self, tensor: Tensor, p: float = 0.5, generator: None = None) -> Tensor:
        return self.micro_batch.rows(
            tensor.new_empty(len(tensor) * self.micro_batch.of, *tensor.shape[1:]).bernoulli_(p)
        )

    def _dropout(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p in (0.0, 1.0):
            return F.dropout(x, p, training, inplace)
        kept = self._kept(x, 1 - p).div_(1 - p)
        return x.mul_(kept) if inplace else x * kept
