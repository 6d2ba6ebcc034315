"""What a person has to know of a shared run, generated from its record; as a hub's model card, too."""

from __future__ import annotations

import json
from typing import Any

import yaml

from benchmark import tables
from benchmark.artifacts.restore import arguments, protocol_of, repository, weights_file
from benchmark.models.catalogue import find_backbone
from benchmark.protocol import Protocol
from benchmark.records import Record

CARD = """---
{front}---

# {record.label} on {record.backbone}, protocol {record.protocol}, seed {record.seed}

A segmentation model for domain generalisation: {protocol}.
{kept}

{table}

- Run: `{record.name}`, protocol fingerprint `{record.fingerprint}`
- Pre-trained weights: `{record.weights_hash}` (weights_hash){origin}
- Licence: {licence}. The images that it was trained on have terms of their own.

```bash
python -m benchmark pull {source}
python -m benchmark evaluate {record.name} --records pulled  # scores it again and compares with the record
```

```python
from pathlib import Path
from benchmark.artifacts.restore import restore

segmenter = restore(Path("pulled/{record.name}.json"){weights})
classes = segmenter.predict(images{window}).argmax(1)  # images: (B, 3, H, W) float, RGB in 0..255
```
"""
KEPT = {
    "delta": "Beside the decoder it holds the single weights of the backbone that {label} chose and changed.",
    "tuned": "Beside the decoder it holds the tensors that {label} trains or adds; other weights are as pre-trained.",
}
SPDX = ("apache-2.0", "cc-by-nc-4.0", "mit")
"""Licences that the hub knows by the names that timm gives them."""


def card(record: Record, source: str) -> str:
    """Return the card, in markdown.

    Args:
        record: a finished run's, with weights.
        source: what ``pull`` takes to get it, a repository or a folder.
    """
    kept = KEPT["tuned" if record.delta is None else "delta"].format(label=record.label)
    (table,) = tables.build([record], methods=[record.method.partition("[")[0]])
    protocol, licence, file = protocol_of(record), licence_of(record), weights_file(record)
    evaluation = protocol.evaluation
    sliding = f', mode="slide", crop={evaluation.crop}, stride={evaluation.stride}'
    return CARD.format(
        front=_front(record, licence), record=record, protocol=_conditions(protocol), kept=kept,
        table=tables.markdown(table).strip(), origin=origin_of(record), source=source,
        licence=f"`{licence}`, that of the pre-trained weights" if licence else "whoever shares this has to say",
        weights=f", weights=Path({json.dumps(file)})" if file else "",
        window=sliding if evaluation.mode == "slide" else "",
    )  # fmt: skip


def build_call(record: Record) -> str:
    """Return the line of code that builds a run's backbone, with the very weights that it had."""
    given = {name: json.dumps(value) for name, value in arguments(record).items()}
    if file := weights_file(record):
        given["weights"] = f"Path({json.dumps(file)})"
    options = "".join(f", {name}={value}" for name, value in given.items())
    return f"build_backbone({json.dumps(record.backbone)}{options})"


def origin_of(record: Record) -> str:
    """Return where the pre-trained weights are from, as the end of a sentence; empty where the record says nothing."""
    return f", from {record.vfm['origin']}" if record.vfm else ""


def licence_of(record: Record) -> str | None:
    """Return the licence of the pre-trained weights as timm states it, this project's of embedded ones, or None."""
    spec = find_backbone(record.backbone)
    if spec.weights == "embedded":
        return "apache-2.0"
    if repository(record) is None:
        return None
    from timm.models import get_pretrained_cfg

    listed = get_pretrained_cfg(spec.timm)
    return str(listed.license) if listed is not None and listed.license else None


def _front(record: Record, licence: str | None) -> str:
    """Return what the hub reads of the card."""
    front: dict[str, Any] = {
        "pipeline_tag": "image-segmentation",
        "tags": ["dgss-benchmark", "semantic-segmentation", "domain-generalization", record.method.partition("[")[0]],
    }
    if licence in SPDX:
        front["license"] = licence
    elif licence:
        front |= {"license": "other", "license_name": licence}
    if base := repository(record):
        front["base_model"] = base
    return yaml.safe_dump(front, sort_keys=False)


def _conditions(protocol: Protocol) -> str:
    source = " + ".join(f"{split.dataset} ({split.split})" for split in protocol.sources)
    targets = ", ".join(f"{split.dataset} ({split.split})" for split in protocol.targets.values())
    return (
        f"trained on {source} for {protocol.iterations} iterations of {protocol.batch} crops of "
        f"{protocol.augmentation.crop} px with decoder {protocol.decoder.name}, scored on {targets}, which it never saw"
    )
