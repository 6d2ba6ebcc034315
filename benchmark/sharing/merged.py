"""``python -m benchmark export --merged``: the tuned backbone as one plain state dict, for any other code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmark.artifacts.delta import packed
from benchmark.artifacts.restore import restore_backbone
from benchmark.models.backbone import Backbone
from benchmark.models.naming import hugging_face
from benchmark.models.weights import weight_hash
from benchmark.records import Record
from benchmark.sharing.card import origin_of, scores_of

CARD = """# {record.label}, {record.backbone}, merged

The backbone `{record.backbone}` as tuned by {record.label}: one state dict under the names of {names}, without modules
of the method. In float32, its block outputs are those of the run up to rounding. The decoder is not included.
{note}
- Run: `{record.name}`, protocol fingerprint `{record.fingerprint}`
- Pre-trained weights: `{record.weights_hash}` (weights_hash){origin}

{scores}

```python
{code}
```

`images`: (B, 3, H, W) float, RGB in 0..255, with H and W multiples of {patch}. `features`: the outputs of the blocks
that the run's decoder reads, {shape}.
"""
TIMM = """import timm, torch
from safetensors.torch import load_file
vit = timm.create_model({arguments}){changes}
vit.load_state_dict(load_file({file}))
mean, std = torch.tensor({mean}).view(3, 1, 1), torch.tensor({std}).view(3, 1, 1)
features = vit.eval().forward_intermediates((images - mean) / std, indices={taps}, intermediates_only=True)"""
SAM = """
vit.neck, vit.pos_embed = torch.nn.Identity(), torch.nn.Parameter(torch.zeros({positions}))"""
TRANSFORMERS = """import torch
from safetensors.torch import load_file
from transformers import Dinov2Config, Dinov2Model
model = Dinov2Model.from_pretrained(None, config=Dinov2Config({arguments}), state_dict=load_file({file}))
mean, std = torch.tensor({mean}).view(3, 1, 1), torch.tensor({std}).view(3, 1, 1)
states = model.eval()((images - mean) / std, output_hidden_states=True).hidden_states
features = [states[index + 1] for index in {taps}]"""
SHAPE = {"timm": "each (B, D, h, w) without prefix tokens", "transformers": "each (B, 1 + h w, D) with the class token"}
RESAMPLED = """
For images of another size than {size} px, transformers resamples the position embeddings in another way than timm, and
features differ slightly.
"""


def merged_files(record: Record, place: Path, weights: Path | None, names: str) -> dict[Path, bytes]:
    """Return the card and the state dict of a run's tuned backbone.

    Args:
        record: of a finished run with weights.
        place: the ``.safetensors`` file to write.
        weights: file with the pre-trained weights of the backbone, if the run used ``--weights``.
        names: of the tensors: ``timm`` or ``transformers``.

    Raises:
        UserError: the method cannot be merged; ``names`` has none for this architecture; as
            :func:`benchmark.artifacts.restore.restore`.
    """
    backbone, method = restore_backbone(record, weights)
    tuned = weight_hash(backbone)
    state = backbone.vit.state_dict() if method is None else method.merged()
    facts = {
        "record": record.name, "method": record.method, "seed": str(record.seed), "backbone": record.backbone,
        "weights_hash": record.weights_hash, "merged_from": tuned, "names": names,
    }  # fmt: skip
    theirs = names == "transformers"
    named = hugging_face(state) if theirs else state
    code = (transformers_code if theirs else timm_code)(backbone, state, place.name)
    card = CARD.format(
        record=record, names=names, origin=origin_of(record), scores=scores_of(record), code=code, shape=SHAPE[names],
        patch=backbone.patch_size, note=RESAMPLED.format(size=_size(backbone)) if theirs else "",
    )  # fmt: skip
    return {place.with_suffix(".md"): card.encode(), place: packed(named, facts)}


def timm_code(backbone: Backbone, state: Mapping[str, Tensor], file: str) -> str:
    """Return the lines of plain timm code that load a merged state dict and compute features."""
    spec = backbone.spec
    options: dict[str, Any] = {"num_classes": 0, **spec.options}
    changes = ""
    if spec.timm.startswith("samvit"):  # as the backbone is built, see `benchmark.models.backbone`
        if options.pop("img_size", None) is not None:
            changes = SAM.format(positions=", ".join(map(str, state["pos_embed"].shape)))
        else:
            changes = "\nvit.neck = torch.nn.Identity()"
    else:
        options["dynamic_img_size"] = True
    return TIMM.format(arguments=_call(spec.timm, options), changes=changes, file=json.dumps(file), **_input(backbone))


def transformers_code(backbone: Backbone, state: Mapping[str, Tensor], file: str) -> str:
    """Return the lines of transformers code that load a merged DINOv2 and compute features."""
    hidden, width = state["blocks.0.mlp.fc1.weight"].shape
    options = {
        "hidden_size": width, "num_hidden_layers": backbone.depth,
        "num_attention_heads": backbone.vit.blocks[0].attn.num_heads, "mlp_ratio": hidden // width,
        "image_size": _size(backbone), "patch_size": backbone.patch_size,
    }  # fmt: skip
    return TRANSFORMERS.format(arguments=_call(None, options), file=json.dumps(file), **_input(backbone))


def _size(backbone: Backbone) -> int:
    return int(backbone.vit.patch_embed.img_size[0])


def _call(first: str | None, options: Mapping[str, Any]) -> str:
    words = [] if first is None else [json.dumps(first)]
    return ", ".join([*words, *(f"{name}={value!r}" for name, value in options.items())])


def _input(backbone: Backbone) -> dict[str, Any]:
    return {"mean": list(backbone.mean), "std": list(backbone.std), "taps": list(backbone.out_indices)}
