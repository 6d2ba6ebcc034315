"""Blocks compiled by ``torch.compile``, each for itself: hooks on blocks, and all names, stay as they are."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from functools import partial

import torch

from benchmark.common.errors import UserError
from benchmark.models.backbone import Backbone

OPTIONS = {"fallback_random": True}
"""Dropout and drop path draw the numbers that they draw where nothing is compiled."""
CALLS = 8
"""In so many ways one block may be called: with gradients and without, numbers and sizes of images, portions."""


def require(device: torch.device) -> None:
    """See that something can be compiled for a device, which takes seconds.

    Raises:
        UserError: it cannot.
    """
    new = time.time_ns() % 10**9 / 1e9  # so that no compiler is spared by what it made before
    try:
        torch.compile(partial(torch.mul, other=new), options=dict(OPTIONS))(torch.zeros(2, device=device))
    except (RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"--compile: torch cannot compile for a {device.type} here: {reason.rstrip('.')}; install a C++ compiler "
            "(Debian: g++), or leave --compile out"
        ) from None


def compile_blocks(backbone: Backbone) -> None:
    """Compile what each block computes; hooks on it run as before.

    Args:
        backbone: with the method attached: modules and hooks inside of a block become part of what is compiled.
    """
    import torch._dynamo
    import torch._functorch.config

    # What it finds on disk drops other paths than what was compiled (torch 2.14).
    torch._functorch.config.enable_autograd_cache = False
    # Blocks share their code, and torch counts by code how often something is compiled.
    torch._dynamo.config.recompile_limit = CALLS * backbone.depth
    for block in backbone.blocks:
        block.forward = torch.compile(block.forward, options=dict(OPTIONS))


def uncompiled() -> AbstractContextManager[None]:
    """Within the context nothing compiled runs, so that hooks and modes that came later see every operation."""
    return torch.compiler.set_stance("force_eager")
