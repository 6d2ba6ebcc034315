"""Device, ranks and precision of a run, and how a batch is divided among ranks."""

from __future__ import annotations

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn

from benchmark.common.errors import UserError
from benchmark.common.microbatch import MicroBatch
from benchmark.models.segmenter import Segmenter
from benchmark.protocol import Protocol


class Losses(nn.Module):
    """The forward pass as one module call, which is what data-parallel wrappers intercept."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, images: Tensor, labels: Tensor, normaliser: Tensor, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """Return the decoder's named losses, see :meth:`Segmenter.losses`."""
        return self.segmenter.losses(images, labels, normaliser, micro_batch)


def make_accelerator(precision: str) -> Accelerator:
    """Return the run's accelerator: a GPU if there is one, and the ranks that torchrun started.

    Args:
        precision: ``float32``, or ``auto`` for bfloat16 autocast on a GPU.
    """
    gpu = torch.cuda.is_available()
    # A phase leaves the weights of backbone or decoder without gradients, and no loss reaches some of a method's.
    parallel = DistributedDataParallelKwargs(find_unused_parameters=True)
    mixed = "bf16" if precision == "auto" and gpu else "no"
    return Accelerator(cpu=not gpu, mixed_precision=mixed, kwargs_handlers=[parallel])


def images_per_rank(protocol: Protocol, ranks: int, accumulate: int = 1) -> int:
    """Return how many images of each batch one rank processes, in ``accumulate`` micro-batches.

    Raises:
        UserError: the batch cannot be divided equally.
    """
    if protocol.batch % (ranks * accumulate):
        divisors = ", ".join(str(n) for n in range(1, protocol.batch + 1) if protocol.batch % n == 0)
        into = f"{ranks} processes" + (f" times {accumulate} micro-batches (--accumulate)" if accumulate > 1 else "")
        raise UserError(
            f"protocol {protocol.name}: its batch of {protocol.batch} images cannot be divided equally among {into}; "
            f"their number must be one of {divisors}"
        )
    return protocol.batch // ranks
