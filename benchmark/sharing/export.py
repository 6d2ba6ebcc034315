"""``python -m benchmark export``: a run's tuned weights as one file to give away, with a card, or the whole run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from benchmark.artifacts.delta import DECODER, VALUE, metadata, packed
from benchmark.artifacts.restore import protocol_of, require_weights
from benchmark.common.atomic import write_files, writing
from benchmark.common.errors import UserError
from benchmark.models.decoder import queries_taken
from benchmark.models.weights import parsed
from benchmark.records import Record, content, find
from benchmark.sharing import bundle
from benchmark.sharing.card import build_call, origin_of

SUFFIX = ".safetensors"
CARD = """# {record.label}, {record.backbone}

What {record.label} made of the pre-trained backbone `{record.backbone}`: {kept}; every other weight is as pre-trained.
{decoder}

- Run: `{record.name}`, protocol fingerprint `{record.fingerprint}`
- Pre-trained weights: `{record.weights_hash}` (weights_hash){origin}

| domain | mIoU % |
|---|---|
{scores}
| average of unseen domains | {average:.1f} |

```python
from pathlib import Path
{imports}
from benchmark.models.backbone import build_backbone

backbone = {build}
{apply}(backbone, Path("{file}"))  # refuses other pre-trained weights
{load}```
"""
DECODER_INSIDE = "The decoder trained with it is inside, whole (`decoder.NAME`)."
DECODER_APART = "The decoder trained with it is not inside (`export --decoder` adds it)."
DECODER_LOAD = """
from benchmark.artifacts.delta import load_decoder
from benchmark.models.decoders import build_decoder
from benchmark.protocol import DecoderSpec

spec = DecoderSpec(**{spec})
decoder = build_decoder(spec, backbone.embed_dim, {classes}, seed=0)
{link}load_decoder(decoder, Path("{file}"))
"""
LINK = """if (queries := method.queries()) is not None:
    decoder.link(queries, seed=0)
"""


def export(which: str, records: Path, output: Path | None, decoder: bool) -> list[Path]:
    """Write what a run made of its backbone as one file, with a card beside it, or the whole run into a folder.

    Args:
        which: a record's path, its name below ``records`` or a part of it that only one has (``fishertune``).
        records: folder of records.
        output: the ``.safetensors`` file to write (default: named after the run, in the current folder), or the
            folder for the whole run: record, confusions, weights, manifest and card.
        decoder: whether the decoder goes into the file as well; in a folder it always is.

    Returns:
        the paths written.

    Raises:
        UserError: no such record or several; no weights beside it; ``output`` cannot be written.
    """
    record = find(which, records)
    require_weights(record)
    place = output or Path(record.name.replace("/", "-").replace("@", "-") + SUFFIX)
    if place.suffix == SUFFIX:
        files = _single(record, place, decoder)
    elif decoder or (place.suffix and not place.is_dir()):
        what = "--decoder: a folder has it anyway" if decoder else f"must end in {SUFFIX}"
        raise UserError(f"--output {place}: {what}, or name a folder")
    else:
        files = {place / name: data for name, data in bundle.contents(record, place.name).items()}
    with writing(place, "give another --output"):
        write_files(files)
    return list(files)[::-1]


def _single(record: Record, place: Path, decoder: bool) -> dict[Path, bytes]:
    """Return the one file, and its card before it."""
    field = "tuned" if record.delta is None else "delta"
    weights = content(record, field)
    tensors = parsed(weights, f"{record.path}: {field}")
    if decoder:
        tensors |= parsed(content(record, "decoder"), f"{record.path}: decoder")
        weights = packed(tensors, metadata(weights))
    return {place.with_suffix(".md"): _card(record, tensors, place.name).encode(), place: weights}


def _card(record: Record, tensors: Mapping[str, Tensor], file: str) -> str:
    """Return what a person has to know of the file, in markdown."""
    scores = "\n".join(f"| {domain} | {100 * score.miou:.1f} |" for domain, score in record.scores().items())
    whole = any(name.startswith(DECODER) for name in tensors)
    spec = protocol_of(record).decoder
    linked = record.delta is None and whole and queries_taken(spec) is not None
    fields = record.protocol_fields.get("decoder", {})
    load = DECODER_LOAD.format(spec=fields, classes=len(record.classes), file=file, link=LINK if linked else "")
    imports = "from benchmark.artifacts.adapter import apply_tuned" if record.delta is None else IMPORT_DELTA
    return CARD.format(
        record=record, kept=_kept(record, tensors), scores=scores, average=100 * (record.average or 0), file=file,
        decoder=DECODER_INSIDE if whole else DECODER_APART, load=load if whole else "", build=build_call(record),
        origin=origin_of(record), imports=imports, apply=_apply(record, linked),
    )  # fmt: skip


IMPORT_DELTA = "from benchmark.artifacts.delta import apply_delta"


def _apply(record: Record, linked: bool) -> str:
    if record.delta is not None:
        return "apply_delta"
    return "method = apply_tuned" if linked else "apply_tuned"


def _kept(record: Record, tensors: Mapping[str, Tensor]) -> str:
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(DECODER)}
    if record.delta is not None:
        values = [tensor for name, tensor in own.items() if name.endswith(VALUE)]
        count = sum(tensor.numel() for tensor in values)
        return (
            f"new values for {count:,} single weights in\n{len(values)} tensors (`NAME/index`: flat positions, "
            "`NAME/value`: values)"
        )
    count = sum(tensor.numel() for tensor in own.values())
    return f"the {len(own)} tensors that it\ntrains or adds, {count:,} values by their names in the backbone"
