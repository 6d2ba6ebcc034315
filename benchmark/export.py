"""``python -m benchmark export``: a run's tuned weights as one file to give away, with a card for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load as parse_safetensors
from torch import Tensor

from benchmark.atomic import write_files
from benchmark.delta import DECODER, VALUE, metadata, packed
from benchmark.errors import UserError, nearest
from benchmark.records import Record, content, paths, read

SUFFIX = ".safetensors"
CARD = """# {record.label}, {record.backbone}

What {record.label} made of the pre-trained backbone `{record.backbone}`: new values for {count:,} single weights in
{changed} tensors (`NAME/index`: flat positions, `NAME/value`: values); every other weight is as pre-trained.
{decoder}

- Run: `{record.name}`, protocol fingerprint `{record.fingerprint}`
- Pre-trained weights: `{record.weights_hash}` (weights_hash){origin}

| domain | mIoU % |
|---|---|
{scores}
| average of unseen domains | {average:.1f} |

```python
from pathlib import Path
from benchmark.delta import apply_delta
from benchmark.models.backbone import build_backbone

backbone = build_backbone("{record.backbone}"{options})
apply_delta(backbone, Path("{file}"))  # refuses other pre-trained weights
{load}```
"""
DECODER_INSIDE = "The decoder trained with it is inside, whole (`decoder.NAME`)."
DECODER_APART = "The decoder trained with it is not inside (`export --decoder` adds it)."
DECODER_LOAD = """
from benchmark.delta import load_decoder
from benchmark.models.decoder import build_decoder
from benchmark.protocol import DecoderSpec

spec = DecoderSpec(**{spec})
decoder = build_decoder(spec, backbone.embed_dim, {classes}, seed=0)
load_decoder(decoder, Path("{file}"))
"""


def export(which: str, records: Path, output: Path | None, decoder: bool) -> list[Path]:
    """Write a run's delta, and its card beside it; return both paths.

    Args:
        which: a record's path, its name below ``records`` or a part of it that only one has (``fishertune``).
        records: folder of records.
        output: the file to write; default: named after the run, in the current folder.
        decoder: whether the decoder goes into the file as well.

    Raises:
        UserError: no such record or several; no delta beside it; ``output`` cannot be written.
    """
    record = find(which, records)
    if record.delta is None:
        raise UserError(f"{record.path}: no delta to export: {_without(record)}")
    place = output or Path(record.name.replace("/", "-").replace("@", "-") + SUFFIX)
    if place.suffix != SUFFIX:
        raise UserError(f"--output {place}: must end in {SUFFIX}")
    weights = content(record, "delta")
    tensors = parse_safetensors(weights)
    if decoder:
        tensors |= parse_safetensors(content(record, "decoder"))
        weights = packed(tensors, metadata(weights))
    card = place.with_suffix(".md")
    try:
        write_files({card: _card(record, tensors, place.name).encode(), place: weights})
    except OSError as error:
        raise UserError(f"{place}: cannot be written: {error.strerror or error}") from None
    return [place, card]


def find(which: str, records: Path) -> Record:
    """Return the record of that path, name or unmistakable part of a name.

    Raises:
        UserError: none, or several.
    """
    if Path(which).is_file():
        return read(Path(which))
    known = {str(path.relative_to(records).with_suffix("")): path for path in paths(records)}
    found = [name for name in known if f"/{which}/" in f"/{name}/"]
    if len(found) > 1:
        raise UserError(f"{which!r} is the name of {len(found)} records; say which: {', '.join(sorted(found))}")
    if not found:
        raise UserError(f"no record {which!r} in {records}: {nearest(which, known)}")
    return read(known[found[0]])


def _without(record: Record) -> str:
    if record.state == "failed":
        return "the run failed"
    return (
        f"{record.label} does not choose single weights, or the record is older than deltas; export a run of "
        "fishertune, random or childtune-d, or run it again with --force"
    )


def _card(record: Record, tensors: Mapping[str, Tensor], file: str) -> str:
    """Return what a person has to know of the file, in markdown."""
    count = sum(tensor.numel() for name, tensor in tensors.items() if name.endswith(VALUE))
    changed = sum(name.endswith(VALUE) for name in tensors)
    scores = "\n".join(f"| {domain} | {100 * score.miou:.1f} |" for domain, score in record.scores().items())
    whole = any(name.startswith(DECODER) for name in tensors)
    load = DECODER_LOAD.format(spec=record.protocol_fields["decoder"], classes=len(record.classes), file=file)
    options = "".join(f', {name}="{value}"' for name, value in _vfm(record).items())
    origin = f", from {record.vfm['origin']}" if record.vfm else ""
    return CARD.format(
        record=record, count=count, changed=changed, scores=scores, average=100 * (record.average or 0), file=file,
        decoder=DECODER_INSIDE if whole else DECODER_APART, load=load if whole else "",
        options=options, origin=origin,
    )  # fmt: skip


def _vfm(record: Record) -> Mapping[str, Any]:
    """Return how the run brought its backbone to size and fed it, where that is not the default."""
    found = record.protocol_fields.get("vfm", {})
    return found if isinstance(found, dict) else {}
