"""The pre-training loop; resuming an interrupted run gives bit-identical weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.common import rng
from benchmark.common.atomic import writing
from benchmark.data.streets import DOMAINS, MATERIALS
from benchmark.models.backbone import Backbone, build_backbone
from benchmark.pretrain.batches import make_batch
from benchmark.pretrain.card import Progress, write_model
from benchmark.pretrain.frames import FrameStore, render_store
from benchmark.pretrain.objective import DenseHeads, dense_losses, total
from benchmark.pretrain.recipe import NAME, Recipe
from benchmark.training import checkpoint

REPORT_EVERY = 50


@dataclass
class Trainer:
    """Training state."""

    backbone: Backbone
    heads: DenseHeads
    optimizer: torch.optim.AdamW
    progress: Progress

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield all trainable parameters."""
        yield from self.backbone.parameters()
        yield from self.heads.parameters()

    def state(self, key: str) -> dict[str, Any]:
        """Return the content of a checkpoint; ``key`` identifies the recipe."""
        return {
            "key": key,
            "backbone": self.backbone.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": self.progress.as_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Restore from the result of :meth:`state`."""
        self.backbone.load_state_dict(state["backbone"])
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress.from_dict(state["progress"])


def pretrain(
    recipe: Recipe,
    folder: Path,
    *,
    workers: int = 2,
    checkpoint_minutes: float = 3.0,
    log: Callable[[str], None] = print,
) -> Path:
    """Pre-train ``vit-tiny-streets``, resuming from a checkpoint in ``folder`` if there is one.

    Args:
        recipe: hyperparameters.
        folder: output folder for rendered frames, checkpoint, log and, at the end, weights, JSON and card.
        workers: number of rendering processes.
        checkpoint_minutes: time between checkpoints.
        log: called with each line of the log.

    Returns:
        The safetensors file (half precision).

    Raises:
        UserError: the folder cannot be written.
    """
    log = logger(folder, log)
    store = render_store(
        folder / "frames",
        recipe.frames,
        recipe.styles,
        recipe.seed,
        workers,
        lambda done, parts: log(f"rendered {done}/{parts} parts"),
    )
    trainer = build_trainer(recipe)
    key, path = recipe.fingerprint(DOMAINS["world"].version), folder / "checkpoint.pt"
    saved = checkpoint.read(path, key)
    if saved is not None:
        trainer.load(saved)
        log(f"resumed at step {trainer.progress.step}")
    _train(trainer, recipe, store, log, lambda: checkpoint.write(path, trainer.state(key)), checkpoint_minutes)
    return write_model(folder, trainer.backbone, recipe, trainer.progress)


def logger(folder: Path, echo: Callable[[str], None]) -> Callable[[str], None]:
    """Return a function that passes a line to ``echo`` and appends it, with the time, to the log in ``folder``.

    Raises:
        UserError: the folder cannot be written.
    """
    path = folder / "pretrain.log"

    def log(line: str) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%H:%M:%S')} {line}\n")
        echo(line)

    with writing(path, "choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        path.touch()
    return log


def build_trainer(recipe: Recipe) -> Trainer:
    """Return the initial training state."""
    backbone = build_backbone(NAME, pretrained=False, seed=recipe.seed)
    for block in backbone.vit.blocks:
        block.attn.fused_attn = False  # with so few tokens, plain attention is a third faster on CPUs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.derive_seed(recipe.seed, "pretrain", "heads"))
        heads = DenseHeads(backbone.embed_dim, len(backbone.out_indices), len(MATERIALS))
    parameters = [*backbone.named_parameters(), *heads.named_parameters()]
    decays = [p for name, p in parameters if p.ndim > 1 and "pos_embed" not in name]
    others = [p for name, p in parameters if p.ndim <= 1 or "pos_embed" in name]
    groups = [{"params": decays, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98), fused=True)
    return Trainer(backbone, heads, optimizer, Progress())


def learning_rate(recipe: Recipe, step: int) -> float:
    """Return the learning rate of ``step``: linear warm-up, then cosine decay to 1 % of the peak."""
    warmup = max(1, round(recipe.warmup * recipe.steps))
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, recipe.steps - warmup)
    return recipe.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def material_weights(store: FrameStore) -> Tensor:
    """Return cross-entropy weights: inverse square root of the frequency in the first 200 frames, at most 5."""
    counts = np.zeros(256)
    for index in range(min(len(store), 200)):
        counts += np.bincount(store[index]["material"].reshape(-1), minlength=256)
    frequency = torch.from_numpy(counts[: len(MATERIALS)] / max(counts[: len(MATERIALS)].sum(), 1))
    weights = frequency.clamp(min=1e-4).rsqrt()
    return (weights / (weights * frequency).sum()).clamp(max=5.0).float()


def _train(
    trainer: Trainer,
    recipe: Recipe,
    store: FrameStore,
    log: Callable[[str], None],
    save: Callable[[], None],
    checkpoint_minutes: float,
) -> None:
    progress, weights = trainer.progress, material_weights(store)
    saved, started, first = time.monotonic(), time.monotonic(), progress.step
    while progress.step < recipe.steps:
        cpu, wall = time.process_time(), time.monotonic()
        losses = train_step(trainer, recipe, store, weights)
        progress.cpu_seconds += time.process_time() - cpu
        progress.wall_seconds += time.monotonic() - wall
        progress.add(losses)
        if progress.step % REPORT_EVERY == 0 or progress.step == recipe.steps:
            pace = (progress.step - first) / (time.monotonic() - started)
            left = (recipe.steps - progress.step) / pace / 60
            named = " ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
            log(f"step {progress.step}/{recipe.steps} {named} | {pace:.2f} steps/s, {left:.0f} min left")
        if time.monotonic() - saved > 60 * checkpoint_minutes or progress.step == recipe.steps:
            save()
            saved = time.monotonic()
            log(f"checkpoint at step {progress.step}")


def train_step(trainer: Trainer, recipe: Recipe, store: FrameStore, weights: Tensor) -> dict[str, float]:
    """Run one optimizer step; return the losses of the joint head."""
    step, backbone = trainer.progress.step, trainer.backbone
    batch = make_batch(store, recipe, step)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (backbone.mean, backbone.std))
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
        features = backbone((batch.images - mean) / std)
        joint, single = trainer.heads(features, step // 2 % len(features))
    losses = dense_losses(joint, batch, weights)
    loss = total(losses) + recipe.auxiliary * total(dense_losses(single, batch, weights))
    trainer.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trainer.parameters(), recipe.clip)
    for group in trainer.optimizer.param_groups:
        group["lr"] = learning_rate(recipe, step)
    trainer.optimizer.step()
    return {name: float(value.detach()) for name, value in losses.items()}
