"""Tuned weights of a method that does not choose single ones: what it trained and what it added, whole.

Such a file is safetensors, too: tensors by their names within the backbone with the method attached
(:meth:`benchmark.method.Method.trained`). Its metadata says which pre-trained weights they belong to, with which method
and settings they were made, and what the whole must be (``tuned_hash``). Of full fine-tuning it is the backbone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark.artifacts.delta import DECODER, opened
from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.common.rng import torch_rng
from benchmark.method import Method
from benchmark.models.backbone import Backbone
from benchmark.models.weights import check, tensors_hash
from benchmark.protocol import explain
from benchmark.records.naming import PERTURBATION, base

NEEDED = ("weights_hash", "tuned_hash", "backbone", "method", "settings", "seed")


def apply_tuned(backbone: Backbone, file: Path) -> Method:
    """Attach the run's method to the pre-trained ``backbone`` and load what it trained; return the method.

    Where that cannot be, the backbone is left as it was.

    Args:
        backbone: as built, without a method attached.
        file: a run's file, or an exported one; a decoder inside is left to
            :func:`benchmark.artifacts.delta.load_decoder`.

    Raises:
        UserError: another kind of file, a damaged one, one that was made on other pre-trained weights or that does not
            fit its own method.
    """
    tensors, facts = opened(file, backbone, "file of tuned weights", NEEDED)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(DECODER)}
    try:
        settings, seed = json.loads(facts["settings"]), int(facts["seed"])
    except ValueError:
        raise UserError(f"{file}: settings and seed in its metadata cannot be read; export the file again") from None
    method = attached(facts["method"], settings, seed, backbone, str(file))
    try:
        check(tensors, method.trained(), str(file))
        if tensors_hash({**backbone.state_dict(), **tensors}) != facts["tuned_hash"]:
            raise UserError(
                f"{file}: does not make the weights that it was made of (tuned_hash); export the file again"
            )
    except UserError:
        method.detach()
        raise
    backbone.load_state_dict(tensors, strict=False)
    return method


def attached(name: str, settings: Mapping[str, Any], seed: int, backbone: Backbone, origin: str) -> Method:
    """Attach a method as a run had it, without the perturbation that it may have trained with.

    Args:
        name: as recorded: ``lora``, ``lora[rank=4]``, ``lora+perturbed``.
        settings: as recorded, resolved.
        seed: the run's.
        backbone: what to attach it to.
        origin: names the source of all this in messages.

    Raises:
        UserError: a method that is not installed, settings that it does not have or a backbone that it cannot serve.
    """
    kind: type[Method] = registry.find("method", base(name))
    try:
        own = {key: value for key, value in settings.items() if not key.startswith(PERTURBATION)}
        method = kind(kind.Settings(**own))
    except (AttributeError, ValidationError) as error:
        text = explain(error, kind.Settings) if isinstance(error, ValidationError) else "no settings"
        raise UserError(f"{origin}: method {name!r}: {text}; use the program that made it") from None
    try:
        method.attach(backbone, torch_rng(seed, "method"))
    except (MemoryError, RuntimeError) as error:  # such as a rank that no memory holds
        text = str(error).partition("\n")[0]
        raise UserError(f"{origin}: method {name!r} cannot be attached with its settings: {text}") from None
    return method
