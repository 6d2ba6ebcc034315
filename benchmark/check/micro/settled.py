"""Conditions under which a case computes the same numbers on every machine, up to the rounding of float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

SEED = 20


@contextmanager
def settled(threads: int = 1) -> Iterator[None]:
    """Compute in float64 on ``threads`` threads, from a fixed state of torch's generator; restore all on exit."""
    before, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(before)


class Wide(TorchFunctionMode):
    """Keeps float64 where the code asks for float32, and draws dropout masks the same way on every CPU.

    Losses are computed in float32, whatever the precision of the model: their rounding would be a billion times that of
    float64. ``bernoulli_`` draws other numbers where torch was built without MKL.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call ``func``, or what replaces it."""
        kwargs = kwargs or {}
        if func is Tensor.float and args[0].dtype == torch.float64:
            return args[0]
        if func is Tensor.view and args[1:] == (torch.int32,) and args[0].dtype == torch.float64:
            return args[0].to(torch.float32).view(torch.int32)  # the bits of a float32 were meant
        if func is Tensor.bernoulli_:
            return _bernoulli(*args, **kwargs)
        if func is F.dropout:
            return _dropout(*args, **kwargs)
        return func(*args, **kwargs)


def _bernoulli(tensor: Tensor, p: float = 0.5, generator: torch.Generator | None = None) -> Tensor:
    return tensor.copy_(torch.rand(tensor.shape, generator=generator) < p)


def _dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if not training or p == 0:
        return x
    kept = _bernoulli(torch.empty_like(x), 1 - p).div_(1 - p)
    return x.mul_(kept) if inplace else x * kept
