"""Outputs of pre-training: weights in half precision, a JSON file with their metadata, and a model card."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors

from benchmark.common.atomic import write_files, writing
from benchmark.common.errors import UserError
from benchmark.data.streets import DOMAINS, MATERIALS
from benchmark.models.backbone import Backbone
from benchmark.pretrain.recipe import NAME, Recipe


@dataclass
class Progress:
    """Progress of a pre-training run.

    Attributes:
        step: completed steps.
        cpu_seconds: CPU time of these steps, summed over threads.
        wall_seconds: wall-clock time of these steps, without interruptions.
        losses: moving averages of the joint head's losses.
        threads: numbers of CPU threads, in order of use; they affect results by rounding.
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
        weight = max(0.01, 1 / self.step)
        for name, value in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) * (1 - weight) + value * weight

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Progress:
        """Restore from the result of :meth:`as_dict`."""
        return cls(**values)


def write_model(folder: Path, backbone: Backbone, recipe: Recipe, progress: Progress) -> Path:
    """Write weights, JSON and card to ``folder`` atomically; return the path of the weights.

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
        "data_version": DOMAINS["world"].version,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "probe": None,
    }
    _write(folder, facts, content)
    return folder / f"{NAME}.safetensors"


def add_probe(folder: Path, probe: dict[str, Any], sheet: bytes) -> None:
    """Add the results of :func:`benchmark.pretrain.probe.probe` to the JSON and the card in ``folder``.

    Args:
        folder: folder of the weights.
        probe: the results.
        sheet: PNG with images of the domains, see :func:`benchmark.pretrain.sheet.contact_sheet`.

    Raises:
        UserError: the folder has no weights, they do not match the JSON, or the folder cannot be written.
    """
    weights, card = folder / f"{NAME}.safetensors", folder / f"{NAME}.json"
    if not (weights.is_file() and card.is_file()):
        raise UserError(f"{folder}: no finished pre-training; run: python -m benchmark pretrain")
    facts, content = json.loads(card.read_text(encoding="utf-8")), weights.read_bytes()
    if hashlib.sha256(content).hexdigest() != facts["sha256"]:
        raise UserError(f"{weights}: SHA-256 differs from the one in {card.name}; restore both from the same source")
    _write(folder, {**facts, "probe": probe}, content, {folder / f"{NAME}.png": sheet})


def _write(folder: Path, facts: dict[str, Any], weights: bytes, more: Mapping[Path, bytes] | None = None) -> None:
    files = {
        **(more or {}),
        folder / f"{NAME}.safetensors": weights,
        folder / f"{NAME}.md": markdown(facts).encode(),
        folder / f"{NAME}.json": (json.dumps(facts, indent=2) + "\n").encode(),  # last: marks the set as complete
    }
    with writing(folder):
        write_files(files)


def markdown(facts: dict[str, Any]) -> str:
    """Return the model card."""
    recipe, losses = facts["recipe"], ", ".join(f"{name} {value:.3f}" for name, value in facts["losses"].items())
    precision = "bfloat16 autocast" if recipe["bf16"] else "float32"
    return f"""# {facts["name"]}

A vision transformer (timm; width 192, depth 6, 3 heads, patch 16, no class token;
{facts["parameters"]:,} parameters), pre-trained from random initialisation on rendered street scenes.
It serves as the vision foundation model for experiments on CPUs. It was not trained on photographs.

## Training data
- Frames: {recipe["frames"]:,} geometries of the domain `world` of the renderer `streets` (version
  {facts["data_version"]}), each in {recipe["styles"]} styles, with very diverse layouts and appearances. `world` uses
  separate seeds, so the frames of the source and target domains are not included; nor are the targets' layouts,
  palettes and surface textures.
- Targets per pixel: material ({len(MATERIALS)}: {", ".join(MATERIALS)}),
  log depth, surface normal, borders between instances (all objects and vehicles), and the extent of the visible part
  of an instance.
- **The 19 target classes are not used.** Classes share materials (glass: houses, cars, buses; metal: poles, vehicles,
  fences), and the other targets are defined without reference to classes. Some correlation remains: a few materials
  occur mostly in one class (air in sky, foliage in vegetation), and ground and sky are not instances.

## Training
{facts["steps_made"]:,} steps, alternating between {recipe["batch"]} crops of 128 x 128 and half as many views of
128 x 256. AdamW, peak learning rate {recipe["lr"]}, weight decay {recipe["weight_decay"]}, warm-up over
{recipe["warmup"]:.0%} of the steps, cosine schedule. Augmentation: zoom {recipe["zoom"][0]} to {recipe["zoom"][1]},
flips, colour matrix, contrast, haze, gamma, noise, blur. Prediction heads on the outputs of blocks {facts["taps"]}, one
for all of them together and one for each; the heads are discarded after training.
Seed {recipe["seed"]}, {precision}, torch {facts["torch"]}, {", then ".join(map(str, facts["threads"]))} threads,
{facts["cpu_seconds"] / 60:.0f} CPU-minutes. Trained with `python -m benchmark pretrain`.

Final losses: {losses}.
SHA-256 of the weights: `{facts["sha256"]}`.

## Evaluation
{_probe_table(facts["probe"])}"""


def _probe_table(probe: dict[str, Any] | None) -> str:
    if probe is None:
        return "Not evaluated yet: run `python -m benchmark pretrain --probe`.\n"
    rows = [
        f"| {_row_name(row['name'])} | {_score(row['in_domain'], row['in_domain_std'])} | "
        f"{_score(row['unseen'], row['unseen_std'])} | "
        + " | ".join(f"{row['targets'][name]:.1f}" for name in probe["targets"])
        + " |"
        for row in probe["rows"]
    ]
    columns = ["backbone", "in-domain", "unseen", *probe["targets"]]
    head = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    looks = (
        "The looks of the targets were adjusted three times with this probe and these frames, so the differences\n"
        "between source, targets and upper bound were chosen, not found. No fine-tuning method took part.\n\n"
        f"Images of all domains, a row each: ![contact sheet]({NAME}.png)"
    )
    return "\n".join([probe["conditions"], "", *head, *rows, "", looks]) + "\n"


def _row_name(name: str) -> str:
    """Return the name for the card; JSON files of earlier versions call the upper bound an oracle."""
    return name.replace("(oracle)", "(upper bound)")


def _score(mean: float | None, spread: float | None) -> str:
    return "" if mean is None else f"{mean:.1f} ± {spread:.1f}"
