"""Save what a tiny run has trained as its files do, and load it into a new backbone."""

from __future__ import annotations

import json

import torch
from torch import Tensor

from benchmark.artifacts import adapter, delta
from benchmark.check.micro import tiny
from benchmark.check.micro.settled import Wide
from benchmark.check.micro.training import Run
from benchmark.common.temporary import temporary_folder
from benchmark.models.weights import weight_hash


def restored(run: Run, name: str) -> tuple[list[Tensor], str]:
    """Return the features of a backbone with what the run has trained, and whether that is a delta or tensors.

    Raises:
        UserError: the loaded backbone is another one.
    """
    fresh = tiny.backbone()
    facts = {
        "weights_hash": weight_hash(fresh), "tuned_hash": weight_hash(run.segmenter.backbone), "backbone": fresh.name,
        "method": name, "seed": "0", "settings": json.dumps(run.method.settings.model_dump(mode="json")),
    }  # fmt: skip
    changes = run.method.delta()
    with temporary_folder("dgss-micro-") as folder:
        file = folder / "run.safetensors"
        if changes is None:
            file.write_bytes(delta.packed(run.method.trained(), facts))
            adapter.apply_tuned(fresh, file)
        else:
            tensors = {f"{key}{delta.INDEX}": index for key, (index, _) in changes.items()}
            tensors |= {f"{key}{delta.VALUE}": value for key, (_, value) in changes.items()}
            file.write_bytes(delta.packed(tensors, facts))
            delta.apply_delta(fresh, file)
    fresh.eval()
    with torch.no_grad(), Wide():
        found: list[Tensor] = fresh((tiny.batch()[0] - run.segmenter.mean) / run.segmenter.std)
    return found, "tensors" if changes is None else "delta"
