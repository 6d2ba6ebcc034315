"""Collective operations over ranks, for methods that need statistics of the whole batch."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def processes() -> int:
    """Return the number of ranks."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def summed(tensor: Tensor) -> Tensor:
    """Return the sum over all ranks; the tensor itself if there is one rank."""
    if processes() == 1:
        return tensor
    tensor = tensor.detach().clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(tensor)
    return tensor


def averaged(tensor: Tensor) -> Tensor:
    """Return the mean over all ranks; for the gradient of a mean loss, this is the gradient of the whole batch."""
    return summed(tensor) / processes() if processes() > 1 else tensor


def gathered(tensor: Tensor) -> Tensor:
    """Return the tensors of all ranks (equal shapes), concatenated along the first axis; without gradient."""
    if processes() == 1:
        return tensor
    parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(processes())]
    distributed.all_gather(parts, tensor.detach().contiguous())
    return torch.cat(parts)
