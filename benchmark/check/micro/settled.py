"""Conditions under which a case computes the same numbers on every machine, up to the rounding of float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function

SEED = 20


@contextmanager
def settled(threads: int = 1) -> Iterator[None]:
    """Compute in float64 on ``threads`` threads, from a fixed state of torch's generator; restore all on exit.

    Dropout and drop path draw uniform numbers: the masks that torch draws itself differ between its versions and,
    where it was built without MKL, between CPUs.
    """
    before, dtype = torch.get_num_threads(), torch.get_default_dtype()
    own = Tensor.bernoulli_, F.dropout
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float64)
    Tensor.bernoulli_, F.dropout = _bernoulli, _dropout  # type: ignore[assignment,method-assign]
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            yield
    finally:
        Tensor.bernoulli_, F.dropout = own  # type: ignore[method-assign]
        torch.set_default_dtype(dtype)
        torch.set_num_threads(before)


class Wide(TorchFunctionMode):
    """Keeps float64 where the code asks for float32.

    Losses are computed in float32, whatever the precision of the model: their rounding would be a billion times that of
    float64.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call ``func``, or what replaces it."""
        if func is Tensor.float and args[0].dtype == torch.float64:
            return args[0]
        if func is Tensor.view and args[1:] == (torch.int32,) and args[0].dtype == torch.float64:
            return args[0].to(torch.float32).view(torch.int32)  # the bits of a float32 were meant
        return func(*args, **kwargs or {})


def _bernoulli(tensor: Tensor, p: float = 0.5, *, generator: torch.Generator | None = None) -> Tensor:
    if has_torch_function((tensor,)):
        replaced: Tensor = handle_torch_function(_bernoulli, (tensor,), tensor, p, generator=generator)
        return replaced
    return tensor.copy_(torch.rand(tensor.shape, generator=generator) < p)


def _dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if has_torch_function((x,)):
        replaced: Tensor = handle_torch_function(_dropout, (x,), x, p, training, inplace)
        return replaced
    if not training or p == 0:
        return x
    kept = torch.empty_like(x).bernoulli_(1 - p).div_(1 - p)
    return x.mul_(kept) if inplace else x * kept
