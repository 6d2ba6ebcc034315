"""The decoder warm-up that runs of a sweep have in common, trained once.

Every run trains the decoder alone first. Two runs of one seed train the same decoder, bit for bit, if the backbone
computes the same features in both: LoRA's update is zero at the start, selected weights are unchanged, and a learning
rate has no effect yet. The second run then continues from the decoder of the first. Its cost includes the warm-up, as
measured by the run that trained it, so that costs do not depend on what else is in the sweep.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from benchmark.common.errors import UserError
from benchmark.training import checkpoint
from benchmark.training.progress import Progress
from benchmark.training.schedule import evaluation_steps
from benchmark.training.trainer import Trainer

OF_THE_METHOD = {"method", "settings"}
"""Conditions in which runs with the same warm-up may differ."""
ROOM = 2 << 30
"""Size of the folder in bytes from which on nothing is added."""


class SharedWarmUp:
    """The decoder warm-up of a run, shared through a folder.

    Args:
        folder: of a sweep, whose runs have the same code, machine and runtime options; None to share nothing.
        conditions: everything that decides the run's result, JSON-ready.
        name: of the run.
        trainer: before its first step.
    """

    def __init__(self, folder: Path | None, conditions: Mapping[str, Any], name: str, trainer: Trainer) -> None:
        self.folder, self.name, self.trainer = folder, name, trainer
        self.steps = trainer.protocol.decoder.warmup
        before_evaluations = 0 < self.steps < min(evaluation_steps(trainer.protocol))
        # A decoder that reads queries trains with more than the features.
        self.shares = folder is not None and before_evaluations and trainer.method.queries() is None
        self.key = self._key(conditions) if self.shares else ""

    def resume(self) -> None:
        """Continue from a stored warm-up, if there is one."""
        state = checkpoint.read(self._path, self.key) if self.shares else None
        if state is None:
            return
        self.shares = False
        self.trainer.segmenter.decoder.load_state_dict(state["decoder"])
        self.trainer.optimizers["decoder"].load_state_dict(state["optimizer"])
        self.trainer.progress = Progress(**state["progress"])

    def store(self, progress: Progress) -> None:
        """Store the warm-up if it has just ended. If there is no space, other runs train their own."""
        if not self.shares or progress.place != self.steps:
            return
        state = {
            "key": self.key,
            "progress": vars(progress) | {"segments": [], "warm_up": self.name},
            "decoder": self.trainer.segmenter.decoder.state_dict(),
            "optimizer": self.trainer.optimizers["decoder"].state_dict(),
        }
        with suppress(OSError, UserError):
            if sum(path.stat().st_size for path in self._path.parent.iterdir()) < ROOM:
                checkpoint.write(self._path, state)

    @property
    def _path(self) -> Path:
        assert self.folder is not None
        return self.folder / f"{self.key}.checkpoint"

    def _key(self, conditions: Mapping[str, Any]) -> str:
        """Return a hash of the conditions apart from the method's, and of the features of the first batch."""
        shared = {name: value for name, value in conditions.items() if name not in OF_THE_METHOD}
        digest = hashlib.sha256(json.dumps(shared, sort_keys=True).encode())
        trainer = self.trainer
        trainer.enter(trainer.timeline[0].phase)
        images = torch.stack([trainer.data[position]["image"] for position in range(trainer.images)])
        # As in the warm-up, no parameter of the backbone needs a gradient; no_grad would compile a graph of its own.
        with trainer.accelerator.autocast():
            features = trainer.segmenter.features(images.to(trainer.accelerator.device))
        for each in features:
            # Adding 0 makes -0 and 0 equal.
            digest.update((each.float() + 0.0).cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
