"""Compile each block separately with ``torch.compile``; hooks on blocks and parameter names do not change."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from functools import partial

import torch

from benchmark.common.errors import UserError
from benchmark.models.backbone import Backbone

OPTIONS = {"fallback_random": True}
"""Dropout and drop path draw the same numbers as without compilation."""
CALLS = 8
"""Allowed variants per block: with and without gradients, numbers and sizes of images, micro-batches."""


def require(device: torch.device) -> None:
    """Check that torch can compile for a device; takes seconds.

    Raises:
        UserError: torch cannot compile for it.
    """
    new = time.time_ns() % 10**9 / 1e9  # a new constant, so that no cached result hides a missing compiler
    try:
        torch.compile(partial(torch.mul, other=new), options=dict(OPTIONS))(torch.zeros(2, device=device))
    except (RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"--compile: torch cannot compile for a {device.type} here: {reason.rstrip('.')}; install a C++ compiler "
            "(Debian: g++), or omit --compile"
        ) from None


def compile_blocks(backbone: Backbone) -> None:
    """Compile the forward pass of each block; hooks on the block itself run as before.

    Args:
        backbone: with the method attached: modules and hooks inside a block are compiled with it.
    """
    import torch._dynamo
    import torch._functorch.config

    # With drop path, results loaded from its disk cache drop other paths than freshly compiled ones (torch 2.14).
    torch._functorch.config.enable_autograd_cache = False
    # All blocks share their code object, and torch counts recompilations per code object.
    torch._dynamo.config.recompile_limit = CALLS * backbone.depth
    for block in backbone.blocks:
        block.forward = torch.compile(block.forward, options=dict(OPTIONS))


def uncompiled() -> AbstractContextManager[None]:
    """Context in which everything runs eagerly, so that hooks and modes added after compilation see every operation."""
    return torch.compiler.set_stance("force_eager")
