"""Save and restore training state."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from benchmark.common.errors import UserError
from benchmark.method import Method
from benchmark.models.segmenter import Segmenter
from benchmark.protocol import Protocol
from benchmark.training import checkpoint
from benchmark.training.progress import Progress
from benchmark.training.schedule import Slot, evaluation_steps, missing


class TrainingState:
    """Everything that changes during training. RNG streams need no state: they depend on the iteration's number.

    Args:
        protocol: the fixed conditions.
        segmenter: with the method attached, before the first phase.
        method: for what it needs beyond weights and moments.
        optimizers: of ``decoder`` and, if it trains, ``backbone``.
        accelerator: the run's ranks.
        line: the run's steps.
    """

    def __init__(
        self,
        protocol: Protocol,
        segmenter: Segmenter,
        method: Method,
        optimizers: dict[str, torch.optim.Optimizer],
        accelerator: Accelerator,
        line: list[Slot],
    ) -> None:
        self.protocol, self.segmenter, self.method = protocol, segmenter, method
        self.optimizers, self.accelerator, self.line = optimizers, accelerator, line
        self._aside: dict[str, Any] | None = None
        self.tunable = sum(p.numel() for p in segmenter.backbone.parameters() if p.requires_grad)

    def set_decoder_aside(self) -> None:
        """Keep the decoder and its optimizer as they are now; again and again until they are put back."""
        if self._aside is None:
            self._aside = deepcopy(
                {"decoder": self.segmenter.decoder.state_dict(), "optimizer": self.optimizers["decoder"].state_dict()}
            )

    def put_decoder_back(self) -> None:
        """Restore the decoder and its optimizer, if they were set aside."""
        if self._aside is not None:
            self.segmenter.decoder.load_state_dict(self._aside["decoder"])
            self.optimizers["decoder"].load_state_dict(self._aside["optimizer"])
            self._aside = None

    def size(self) -> int:
        """Return the approximate size of a checkpoint in bytes, see :func:`checkpoint.size`."""
        backbone, decoder = (
            sum(parameter.numel() for parameter in side.parameters())
            for side in (self.segmenter.backbone, self.segmenter.decoder)
        )
        trained, estimates = self.method.trainable(), self.method.stored_values()
        return checkpoint.size(backbone + decoder, decoder, trained, self.tunable, estimates)

    def save(self, path: Path, key: str, progress: Progress) -> None:
        """Write the checkpoint for ``key``; only the first rank does.

        Raises:
            UserError: it cannot be written.
        """
        if not self.accelerator.is_main_process:
            return
        state = {
            "key": key,
            "progress": vars(progress),
            "segmenter": self.segmenter.state_dict(),
            "optimizers": {side: optimizer.state_dict() for side, optimizer in self.optimizers.items()},
            "method": self.method.state_dict(),
            "aside": self._aside,
        }
        checkpoint.write(path, state)

    def resume(self, path: Path, key: str) -> Progress | None:
        """Restore the checkpoint and return its progress; None if there is no checkpoint for ``key``.

        Raises:
            UnfitError: its content does not fit this run.
            UserError: ranks find different checkpoints.
        """
        state = checkpoint.read(path, key)
        self._agree(path, state)
        if state is None:
            return None
        try:
            return self._restore(state)
        except torch.OutOfMemoryError:
            raise
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise checkpoint.UnfitError(f"{path}: not a checkpoint of this program ({type(error).__name__})") from error

    def _restore(self, state: dict[str, Any]) -> Progress:
        self.segmenter.load_state_dict(state["segmenter"])
        self.method.load_state_dict(state["method"])
        for side, optimizer in self.optimizers.items():
            _load(optimizer, state["optimizers"][side])
        self._aside = state["aside"]
        progress = Progress(**state["progress"])
        ahead = self.line[progress.place].iteration if progress.place < len(self.line) else self.protocol.iterations
        step, lacking = progress.step, missing(self.protocol, progress.step, len(progress.scores))
        # Only the evaluation scheduled at this very step may be missing: it can be interrupted.
        if not 0 <= step == ahead or lacking not in {
            0,
            int(step in evaluation_steps(self.protocol)),
        }:
            raise ValueError("its iteration and evaluations contradict each other")
        return progress

    def _agree(self, path: Path, state: dict[str, Any] | None) -> None:
        """Refuse to resume from different checkpoints, as happens if nodes do not share the records folder."""
        progress = {"step": -1} if state is None else state.get("progress")
        step = progress.get("step", -2) if isinstance(progress, dict) else -2
        step = step if isinstance(step, int) and abs(step) < 2**31 else -2
        steps = self.accelerator.gather(torch.tensor([step], device=self.accelerator.device)).tolist()
        if len(set(steps)) > 1:
            raise UserError(f"{path}: ranks find different checkpoints; give a --records folder that all nodes share")


def _load(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Restore an optimizer's state, with the checks that torch omits: it compares only numbers of parameters.

    Raises:
        KeyError, TypeError, ValueError: the next step would fail with it.
    """
    if isinstance(optimizer, torch.optim.AdamW):
        _check_moments(optimizer, state)
    before = [dict(group) for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, before, strict=True):
        for name in own.keys() - {"params"}:
            if not _alike(group[name], own[name]):
                raise ValueError(f"{name} is {group[name]!r}")


def _check_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    params = [param for group in optimizer.param_groups for param in group["params"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    for number, param in zip(numbers, params, strict=True):
        saved = state["state"].get(number)
        if not saved:  # the parameter never had a gradient
            continue
        for name in ("exp_avg", "exp_avg_sq"):
            if saved[name].shape != param.shape or saved[name].dtype != param.dtype:
                raise ValueError(f"{name} has another shape or type than the parameter")
        if saved["step"].shape or not 0 < saved["step"].item() < math.inf:
            raise ValueError("invalid number of steps")


def _alike(option: Any, own: Any) -> bool:
    """Return whether an option fits the optimizer's own; a method may change numbers during training."""
    if isinstance(own, (int, float)) and not isinstance(own, bool):
        return isinstance(option, (int, float)) and math.isfinite(option)
    return bool(option == own)
