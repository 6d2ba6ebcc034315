"""``python -m benchmark export``: the tuned weights of a run as one file with a card, or the whole run as a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from benchmark.artifacts.delta import DECODER, RECORD, VALUE, metadata, packed
from benchmark.artifacts.restore import protocol_of, require_weights
from benchmark.common.atomic import write_files, writing
from benchmark.common.errors import UserError
from benchmark.models.decoder import queries_taken
from benchmark.models.weights import parsed
from benchmark.records import Record, content, find
from benchmark.sharing import bundle
from benchmark.sharing.card import build_call, origin_of, scores_of
from benchmark.sharing.merged import merged_files

SUFFIX = ".safetensors"
CARD = """# {record.label}, {record.backbone}

{record.label} changed the pre-trained backbone `{record.backbone}`: {kept}; all other weights are as pre-trained.
{decoder}

- Run: `{record.name}`, protocol fingerprint `{record.fingerprint}`
- Pre-trained weights: `{record.weights_hash}` (weights_hash){origin}

{scores}

```python
from pathlib import Path
{imports}
from benchmark.models.backbone import build_backbone

backbone = {build}
{apply}(backbone, Path("{file}"))  # raises UserError for other pre-trained weights
{load}```
"""
DECODER_INSIDE = "The file includes the trained decoder (`decoder.NAME`)."
DECODER_APART = "The file does not include the trained decoder (`export --decoder` adds it)."
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


def export(
    which: str,
    records: Path,
    output: Path | None,
    decoder: bool,
    *,
    merged: bool = False,
    names: str | None = None,
    weights: Path | None = None,
) -> list[Path]:
    """Write the tuned backbone weights of a run as one file with a card, or the whole run as a folder.

    Args:
        which: path of a record, its name below ``records`` or a unique part of the name (``fishertune``).
        records: folder of records.
        output: the ``.safetensors`` file to write (default: named after the run, in the current folder), or a
            folder for the whole run: record, confusion matrices, weights, manifest and card.
        decoder: include the decoder in the file; a folder always includes it.
        merged: write all weights of the tuned backbone as a plain state dict instead of the changes.
        names: of the tensors, with ``merged``: ``timm`` (by default) or ``transformers``.
        weights: file with the pre-trained weights of the backbone, with ``merged``, if the run used ``--weights``.

    Returns:
        the paths written.

    Raises:
        UserError: no such record or several; no weight files; ``output`` cannot be written; a method that cannot be
            merged.
    """
    if not merged and (names is not None or weights is not None):
        raise UserError("--names: only with --merged" if names else "--weights: only with --merged or --format")
    record = find(which, records)
    require_weights(record)
    place = output or Path(record.name.replace("/", "-").replace("@", "-") + SUFFIX)
    if merged:
        if decoder or place.suffix != SUFFIX:
            fault = "leave out --decoder" if decoder else f"--output {place} must end in {SUFFIX}"
            raise UserError(f"--merged writes one state dict of the backbone: {fault}")
        files = merged_files(record, place, weights, names or "timm")
    elif place.suffix == SUFFIX:
        files = _single(record, place, decoder)
    elif decoder or (place.suffix and not place.is_dir()):
        fault = "leave out --decoder, which a folder includes" if decoder else f"must end in {SUFFIX} or be a folder"
        raise UserError(f"--output {place}: {fault}")
    else:
        files = {place / name: data for name, data in bundle.contents(record, place.name).items()}
    with writing(place, "give another --output"):
        write_files(files)
    return list(files)[::-1]


def _single(record: Record, place: Path, decoder: bool) -> dict[Path, bytes]:
    """Return the card and the file of weights."""
    field = "tuned" if record.delta is None else "delta"
    weights = content(record, field)
    tensors = parsed(weights, f"{record.path}: {field}")
    if decoder:
        tensors |= parsed(content(record, "decoder"), f"{record.path}: decoder")
        assert record.path is not None
        weights = packed(tensors, {**metadata(weights), RECORD: record.path.read_text(encoding="utf-8")})
    return {place.with_suffix(".md"): _card(record, tensors, place.name).encode(), place: weights}


def _card(record: Record, tensors: Mapping[str, Tensor], file: str) -> str:
    """Return the card of the file, in markdown."""
    whole = any(name.startswith(DECODER) for name in tensors)
    spec = protocol_of(record).decoder
    linked = record.delta is None and whole and queries_taken(spec) is not None
    fields = record.protocol_fields.get("decoder", {})
    load = DECODER_LOAD.format(spec=fields, classes=len(record.classes), file=file, link=LINK if linked else "")
    imports = "from benchmark.artifacts.adapter import apply_tuned" if record.delta is None else IMPORT_DELTA
    return CARD.format(
        record=record, kept=_kept(record, tensors), scores=scores_of(record), file=file,
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
            f"{count:,} single weights in\n{len(values)} tensors have new values (`NAME/index`: flat positions, "
            "`NAME/value`: values)"
        )
    count = sum(tensor.numel() for tensor in own.values())
    return f"it trained or\nadded {len(own)} tensors with {count:,} values, stored by their names in the backbone"
