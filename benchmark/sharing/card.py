"""The model card of a shared run, generated from its record; in the format of the hub."""

from __future__ import annotations

import json
from typing import Any

import yaml

from benchmark import tables
from benchmark.artifacts.restore import arguments, from_package, protocol_of, repository, weights_file
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
- Licence: {licence}. The training images have their own terms.

```bash
python -m benchmark pull {source}
python -m benchmark evaluate {record.name} --records pulled  # compares the scores with the record
python -m benchmark predict {record.name} photos --records pulled --out predicted  # your own images
```

```python
from pathlib import Path
from benchmark.artifacts.restore import restore

segmenter = restore(Path("pulled/{record.name}.json"){weights})
classes = segmenter.predict(images{window}).argmax(1)  # images: (B, 3, H, W) float, RGB in 0..255
```
"""
KEPT = {
    "delta": "It contains the decoder and the single weights of the backbone that {label} selected and changed.",
    "tuned": "It contains the decoder and the tensors that {label} trained or added; others are as pre-trained.",
}
SPDX = ("apache-2.0", "cc-by-nc-4.0", "mit")
"""Licences that have the same name in timm and on the hub."""


def card(record: Record, source: str) -> str:
    """Return the card in markdown.

    Args:
        record: of a finished run with weights.
        source: argument of ``pull``, a repository or a folder.
    """
    kept = KEPT["tuned" if record.delta is None else "delta"].format(label=record.label)
    (table,) = tables.build([record], methods=[record.method.partition("[")[0]])
    protocol, licence, file = protocol_of(record), licence_of(record), weights_file(record)
    evaluation = protocol.evaluation
    sliding = f', mode="slide", crop={evaluation.crop}, stride={evaluation.stride}'
    return CARD.format(
        front=_front(record, licence), record=record, protocol=_conditions(protocol), kept=kept,
        table=tables.markdown(table).strip(), origin=origin_of(record), source=source,
        licence=f"`{licence}`, that of the pre-trained weights" if licence else "to be stated by the author",
        weights=f", weights=Path({json.dumps(file)})" if file else "",
        window=sliding if evaluation.mode == "slide" else "",
    )  # fmt: skip


def build_call(record: Record) -> str:
    """Return the line of code that builds the backbone of a run with its pre-trained weights."""
    given = {name: json.dumps(value) for name, value in arguments(record).items()}
    if file := weights_file(record):
        given["weights"] = f"Path({json.dumps(file)})"
    options = "".join(f", {name}={value}" for name, value in given.items())
    return f"build_backbone({json.dumps(record.backbone)}{options})"


def scores_of(record: Record) -> str:
    """Return the scores of a run as a table in markdown: mIoU by domain, and the average of the unseen ones."""
    scores = [f"| {domain} | {100 * score.miou:.1f} |" for domain, score in record.scores().items()]
    average = f"| average of unseen domains | {100 * (record.average or 0):.1f} |"
    return "\n".join(["| domain | mIoU % |", "|---|---|", *scores, average])


def origin_of(record: Record) -> str:
    """Return the origin of the pre-trained weights as the end of a sentence; empty if it is not recorded."""
    return f", from {record.vfm['origin']}" if record.vfm else ""


def licence_of(record: Record) -> str | None:
    """Return the licence of the pre-trained weights: from timm, the catalogue's for a package, that of this project for
    bundled weights, or None.
    """
    spec = find_backbone(record.backbone)
    if spec.weights == "embedded":
        return "apache-2.0"
    if spec.package is not None and from_package(record):
        return spec.package.licence
    if repository(record) is None:
        return None
    from timm.models import get_pretrained_cfg

    listed = get_pretrained_cfg(spec.timm)
    return str(listed.license) if listed is not None and listed.license else None


def _front(record: Record, licence: str | None) -> str:
    """Return the YAML front matter that the hub reads."""
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
        f"{protocol.augmentation.crop} px with decoder {protocol.decoder.name}, evaluated on the unseen {targets}"
    )
