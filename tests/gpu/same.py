"""One training step in float32 on the GPU and on the CPU: the same losses and gradients up to rounding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tests.gpu.measure import accelerated, make_trainer
from tests.gpu.sizes import Models, Size, made_up

METHOD = "full"


class _DrawnOnCPU(TorchFunctionMode):
    """Draws uniform random numbers, such as the points of a loss, on the CPU, since each device has other ones."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.rand and kwargs.get("generator") is None:
            device = kwargs.pop("device", None)
            return func(*args, **kwargs).to(device or "cpu")
        return func(*args, **kwargs)


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Multiply and convolve in float32; by default torch convolves in TF32."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def one_step(size: Size, *, cpu: bool) -> dict[str, Tensor]:
    """Return what one step of full fine-tuning computes in float32, on the CPU.

    Args:
        size: its batch, crop and models count.
        cpu: compute on the CPU even if there is a GPU.

    Returns:
        ``losses`` (their number,), and all gradients of ``backbone`` and ``decoder``, each as one vector.
    """
    with accelerated("float32", cpu=cpu) as accelerator, _without_tf32(), _DrawnOnCPU():
        trainer = make_trainer(METHOD, size, Models(size).segmenter(), accelerator)
        device = accelerator.device
        images, labels = made_up(size.protocol.batch, size.crop, size.crop)
        losses = trainer.step(images.to(device), labels.to(device))
    found = {"losses": torch.tensor(list(losses.values()))}
    for side, optimizer in trainer.optimizers.items():
        # After one step, Adam's first moment is (1 - β₁) times the gradient, which the step itself discards.
        moments = [state["exp_avg"].cpu().flatten() for state in optimizer.state.values() if "exp_avg" in state]
        found[side] = torch.cat(moments) / (1 - trainer.protocol.betas[0])
    return found


def differences(one: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, float]:
    """Return, by name, the length of the difference of two vectors divided by the length of the second."""
    assert one.keys() == other.keys()
    norm = torch.linalg.vector_norm
    return {
        name: float(norm(one[name].double() - other[name].double()) / norm(other[name].double())) for name in one
    }  # fmt: skip


def compare(size: Size) -> dict[str, Any]:
    """Return the relative differences between the GPU's step and the CPU's, and the largest of them."""
    if not torch.cuda.is_available():
        return {"skipped": "torch finds no CUDA device"}
    found = differences(one_step(size, cpu=False), one_step(size, cpu=True))
    return {
        "method": METHOD, "backbone": size.backbone, "crop": size.crop, "batch": size.protocol.batch,
        "relative_differences": found, "largest": max(found.values()),
    }  # fmt: skip
