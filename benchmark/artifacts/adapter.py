"""Weights of methods that train or add whole tensors, as one file.

The file is safetensors: tensors by their names in the backbone with the method attached
(:meth:`benchmark.method.Method.trained`). Its metadata contains the hash of the pre-trained weights, the method, its
hyperparameters and seed, and the hash of the tuned backbone (``tuned_hash``). For full fine-tuning, the file contains
the whole backbone. See :mod:`benchmark.artifacts.delta` for methods that select single weights.
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
    """Attach the run's method to the pre-trained ``backbone``, load the trained tensors and return the method.

    On error, the backbone is unchanged.

    Args:
        backbone: without a method attached.
        file: from a run or from ``export``. A decoder in it is ignored; load it with
            :func:`benchmark.artifacts.delta.load_decoder`.

    Raises:
        UserError: another kind of file, a damaged file, other pre-trained weights than those it was trained from, or
            tensors that do not fit its method.
    """
    tensors, facts = opened(file, backbone, "file of tuned weights", NEEDED)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(DECODER)}
    try:
        settings, seed = json.loads(facts["settings"]), int(facts["seed"])
    except ValueError:
        raise UserError(f"{file}: settings or seed in its metadata are invalid; export the file again") from None
    method = attached(facts["method"], settings, seed, backbone, str(file))
    try:
        check(tensors, method.trained(), str(file))
        if tensors_hash({**backbone.state_dict(), **tensors}) != facts["tuned_hash"]:
            raise UserError(f"{file}: the tuned backbone does not match its hash (tuned_hash); export the file again")
    except UserError:
        method.detach()
        raise
    backbone.load_state_dict(tensors, strict=False)
    return method


def attached(name: str, settings: Mapping[str, Any], seed: int, backbone: Backbone, origin: str) -> Method:
    """Attach the method of a run to ``backbone``, without feature perturbation.

    Args:
        name: as recorded: ``lora``, ``lora[rank=4]``, ``lora+perturbed``.
        settings: resolved hyperparameters, as recorded.
        seed: of the run.
        backbone: without a method attached.
        origin: name of the source, for messages.

    Raises:
        UserError: a method that is not installed, invalid hyperparameters, or a backbone that it does not support.
    """
    kind: type[Method] = registry.find("method", base(name))
    try:
        own = {key: value for key, value in settings.items() if not key.startswith(PERTURBATION)}
        method = kind(kind.Settings(**own))
    except (AttributeError, ValidationError) as error:
        text = explain(error, kind.Settings) if isinstance(error, ValidationError) else "no settings"
        raise UserError(f"{origin}: method {name!r}: {text}; use the version of the program that created it") from None
    try:
        method.attach(backbone, torch_rng(seed, "method"))
    except (MemoryError, RuntimeError) as error:  # such as a rank too large for memory
        text = str(error).partition("\n")[0]
        raise UserError(f"{origin}: method {name!r} cannot be attached with its settings: {text}") from None
    return method
