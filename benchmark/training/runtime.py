"""Runtime options: they change speed and memory, not results."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """How a run executes. Its result does not depend on it, so none of this is part of the protocol.

    Attributes:
        threads: CPU threads of the run.
        accumulate: micro-batches into which a rank divides its images of a batch.
        checkpointing: recompute blocks in the backward pass instead of storing their activations.
        compile: compile the backbone's blocks.
        data_workers: data-loader workers of each rank; None for :func:`benchmark.data.loading.data_workers`.
        evaluator: a second evaluator that must confirm every mIoU, ``detectron2``; None for ours alone.
        tracker: logs losses and scores, ``tensorboard`` or ``wandb``; None for no tracker.
    """

    threads: int = 1
    accumulate: int = 1
    checkpointing: bool = False
    compile: bool = False
    data_workers: int | None = None
    evaluator: str | None = None
    tracker: str | None = None
