"""Micro-batches: the images of the protocol's batch that one rank processes in one gradient-accumulation step.

Random numbers are drawn for the whole batch, and each micro-batch uses the rows of its own images. The numbers of an
image therefore depend neither on the number of ranks nor on the number of accumulation steps.
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
    """One of several equal parts of a batch, in the order of its images.

    Attributes:
        index: position among the parts, from 0.
        of: number of parts; 1 for the whole batch.
    """

    index: int = 0
    of: int = 1

    def rows(self, everything: Tensor) -> Tensor:
        """Return this micro-batch's rows of a tensor of the whole batch (images along the first axis)."""
        count = len(everything) // self.of
        return everything[self.index * count : (self.index + 1) * count]

    def draw(self, sample: Callable[..., Tensor], shape: Sequence[int], rng: torch.Generator) -> Tensor:
        """Draw random numbers for the whole batch and return this micro-batch's rows.

        Args:
            sample: ``torch.rand`` or ``torch.randn``.
            shape: of the result, images along the first axis.
            rng: generator to draw from.
        """
        return self.rows(sample((shape[0] * self.of, *shape[1:]), generator=rng))

    @contextmanager
    def whole_batch_draws(self) -> Iterator[None]:
        """Make dropout and drop path draw for the whole batch and keep this micro-batch's rows.

        On a CPU these are the numbers that the whole batch would get from the same state of torch's generator. The
        first axis of a dropout's input must be images, or windows of images. Dropout inside fused attention is not
        covered; none of the foundation models uses it.
        """
        if self.of == 1:
            yield
            return
        token = _current.set(self)
        try:
            with _Rows(self):
                yield
        finally:
            _current.reset(token)


WHOLE = MicroBatch()
_current: ContextVar[MicroBatch] = ContextVar("micro_batch", default=WHOLE)


def current() -> MicroBatch:
    """Return the micro-batch of the enclosing :meth:`MicroBatch.whole_batch_draws`, else ``WHOLE``; for hooks."""
    return _current.get()


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
