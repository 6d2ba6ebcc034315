"""What pre-training leaves behind: weights in half precision, their JSON, and a model card for people."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors

from benchmark.common.atomic import write_files, writing
from benchmark.common.errors import UserError
from benchmark.data.streets import MATERIALS, VERSION
from benchmark.models.backbone import Backbone
from benchmark.pretrain.recipe import NAME, Recipe


@dataclass
class Progress:
    """How far a pre-training has come.

    Attributes:
        step: steps made.
        cpu_seconds: processor time of them, all threads.
        wall_seconds: time of them, pauses between sessions left out.
        losses: moving averages of the joint head's.
        threads: numbers of processor threads, in order of use; they move results by rounding.
    """

    step: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)
    threads: list[int] = field(default_factory=list)

    def add(self, losses: dict[str, float]) -> None:
        """Count one step."""
        self.step += 1
        if torch.get_num_threads() not in self.threads[-1:]:
            self.threads.append(torch.get_num_threads())
        share = max(0.01, 1 / self.step)
        for name, value in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) * (1 - share) + value * share

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Progress:
        """Take back what :meth:`as_dict` returned."""
        return cls(**values)


def write_model(folder: Path, backbone: Backbone, recipe: Recipe, progress: Progress) -> Path:
    """Write weights, JSON and card into ``folder``, all or none; return the weights' path.

    Raises:
        UserError: the folder cannot be written.
    """
    tensors = {name: value.detach().half().contiguous() for name, value in backbone.vit.state_dict().items()}
    content = to_safetensors(tensors, metadata={"format": "pt"})
    facts = {
        "name": NAME,
        "sha256": hashlib.sha256(content).hexdigest(),
        "parameters": sum(value.numel() for value in tensors.values()),
        "taps": ", ".join(map(str, backbone.out_indices)),
        "recipe": asdict(recipe),
        "steps_made": progress.step,
        "cpu_seconds": round(progress.cpu_seconds, 1),
        "wall_seconds": round(progress.wall_seconds, 1),
        "threads": progress.threads,
        "losses": {name: round(value, 4) for name, value in progress.losses.items()},
        "data_version": VERSION,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "probe": None,
    }
    _write(folder, facts, content)
    return folder / f"{NAME}.safetensors"


def add_probe(folder: Path, probe: dict[str, Any]) -> None:
    """Put the results of :func:`benchmark.pretrain.probe.probe` into the JSON and the card in ``folder``.

    Raises:
        UserError: the folder holds no weights, or others than its JSON describes; it cannot be written.
    """
    weights, card = folder / f"{NAME}.safetensors", folder / f"{NAME}.json"
    if not (weights.is_file() and card.is_file()):
        raise UserError(f"{folder}: no finished pre-training here; run: python -m benchmark pretrain")
    facts, content = json.loads(card.read_text(encoding="utf-8")), weights.read_bytes()
    if hashlib.sha256(content).hexdigest() != facts["sha256"]:
        raise UserError(f"{weights}: differs from what {card.name} describes; restore both from one source")
    _write(folder, {**facts, "probe": probe}, content)


def _write(folder: Path, facts: dict[str, Any], weights: bytes) -> None:
    files = {
        folder / f"{NAME}.safetensors": weights,
        folder / f"{NAME}.md": markdown(facts).encode(),
        folder / f"{NAME}.json": (json.dumps(facts, indent=2) + "\n").encode(),  # last: vouches for the others
    }
    with writing(folder):
        write_files(files)


def markdown(facts: dict[str, Any]) -> str:
    """Return the model card."""
    recipe, losses = facts["recipe"], ", ".join(f"{name} {value:.3f}" for name, value in facts["losses"].items())
    precision = "bfloat16 autocast" if recipe["bf16"] else "float32"
    return f"""# {facts["name"]}

A vision transformer (timm; width 192, depth 6, 3 heads, patch 16, no class token;
{facts["parameters"]:,} parameters), pre-trained from random initialisation on rendered street scenes. It stands in
for a vision foundation model where a CPU has to do. It has seen no photograph.

## What it saw
- Frames: {recipe["frames"]:,} geometries of the domain `world` of the renderer `streets` (version
  {facts["data_version"]}), each in {recipe["styles"]} styles: very broad layouts and appearances. `world` has
  seeds of its own; no frame of a source or target domain is among them.
- Targets, per pixel: the material ({len(MATERIALS)}: {", ".join(MATERIALS)}),
  log depth, the surface normal, borders between instances (of everything that stands or drives), and how far the
  visible part of an instance reaches.
- **Never the 19 target classes.** Materials cut across them (glass: houses, cars, buses; metal: poles, vehicles,
  fences), and so do the others. What does correlate: a few materials belong mostly to one class (air to sky,
  foliage to vegetation), and ground and sky are no instances.

## Recipe
{facts["steps_made"]:,} steps of {recipe["batch"]} crops of 128 x 128, every other step half as many views of
128 x 256. AdamW, peak learning rate {recipe["lr"]}, weight decay {recipe["weight_decay"]}, warm-up over
{recipe["warmup"]:.0%} of the steps, cosine. Magnification {recipe["zoom"][0]} to {recipe["zoom"][1]}, flips, colour
matrix, contrast, veil, gamma, noise, blur. Heads on blocks {facts["taps"]}, joint and single, thrown away.
Seed {recipe["seed"]}, {precision}, torch {facts["torch"]}, {", then ".join(map(str, facts["threads"]))} threads,
{facts["cpu_seconds"] / 60:.0f} CPU-minutes. Made by `python -m benchmark pretrain`.

Final losses: {losses}.
SHA-256 of the weights: `{facts["sha256"]}`.

## What it is worth
{_probe_table(facts["probe"])}"""


def _probe_table(probe: dict[str, Any] | None) -> str:
    if probe is None:
        return "Not measured yet: `python -m benchmark pretrain --probe`.\n"
    rows = [
        f"| {row['name']} | {_score(row['in_domain'], row['in_domain_std'])} | "
        f"{_score(row['unseen'], row['unseen_std'])} | "
        + " | ".join(f"{row['targets'][name]:.1f}" for name in probe["targets"])
        + " |"
        for row in probe["rows"]
    ]
    columns = ["backbone", "in-domain", "unseen", *probe["targets"]]
    head = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return "\n".join([probe["conditions"], "", *head, *rows]) + "\n"


def _score(mean: float | None, spread: float | None) -> str:
    return "" if mean is None else f"{mean:.1f} ± {spread:.1f}"
