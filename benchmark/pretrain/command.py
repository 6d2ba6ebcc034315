"""``python -m benchmark pretrain``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import typer

from benchmark.pretrain.card import add_probe
from benchmark.pretrain.probe import probe as measure
from benchmark.pretrain.recipe import Recipe
from benchmark.pretrain.sheet import contact_sheet
from benchmark.pretrain.training import pretrain


def run(output: Path, steps: int | None, frames: int | None, workers: int, probe: bool) -> None:
    """Pre-train in folder ``output``; with ``probe``, evaluate on held-out frames and add the results to the card.

    Raises:
        UserError: the folder cannot be written.
    """
    recipe = Recipe()
    recipe = replace(recipe, steps=steps or recipe.steps, frames=frames or recipe.frames)
    weights = pretrain(recipe, output, workers=workers, log=typer.echo)
    if probe:
        add_probe(output, measure(weights, workers=workers, log=typer.echo), contact_sheet())
    typer.echo(f"{weights}: weights; JSON file and model card in the same folder")
