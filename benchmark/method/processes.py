"""What the processes of a distributed run tell each other, for methods that look at whole batches."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def processes() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def summed(tensor: Tensor) -> Tensor:
    """Return the sum over all processes, the same on each; the tensor itself where there is one."""
    if processes() == 1:
        return tensor
    tensor = tensor.detach().clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(tensor)
    return tensor


def averaged(tensor: Tensor) -> Tensor:
    """Return the mean over all processes: of gradients of mean losses, the whole batch's gradient."""
    return summed(tensor) / processes() if processes() > 1 else tensor


def gathered(tensor: Tensor) -> Tensor:
    """Return every process's tensor, all of one shape, one behind the other along the first axis; no gradient."""
    if processes() == 1:
        return tensor
    parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(processes())]
    distributed.all_gather(parts, tensor.detach().contiguous())
    return torch.cat(parts)
