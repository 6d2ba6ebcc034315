"""How a run is carried out: what decides its memory and time, and nothing of what comes out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RuntimeOptions:
    """How a run is carried out; its result does not depend on it, so it is no part of the protocol.

    Attributes:
        accumulate: steps in which a process goes through its share of a batch; memory for fewer images at a time.
        checkpointing: whether what blocks compute is computed again in the backward pass and not kept.
        compile: whether blocks are compiled.
        loaders: processes that load data for each process of the run; None for :func:`benchmark.data.loading.loaders`.
    """

    accumulate: int = 1
    checkpointing: bool = False
    compile: bool = False
    data_workers: int | None = None
