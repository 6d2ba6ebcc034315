"""Names of tensors in mmsegmentation's checkpoints, by our names of the same tensors.

``#`` is a number, ``*`` the last part of a name and ``**`` the rest of it. Several names on the right are the parts of
our tensor along its first axis. Several names of ours with the same name on the right are its parts, in this order.
The names on the right are those of the public code: Rein (w1oves/Rein), SoMA (ysj9909/SoMA), GeCo (DZhaoXd/GeCo), and
mmdetection's Mask2Former, which all three use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

Theirs = str | tuple[str, ...] | None
"""One name, the names of several parts, or None for a constant that checkpoints do not contain."""
Names = Mapping[str, Theirs]

_PIXELS, _LAYERS = "pixel_decoder.encoder.layers.#.", "transformer_decoder.layers.#."
_HEAD = {
    "pixels.level_embed": "pixel_decoder.level_encoding.weight",
    "pixels.input_projections.#.0.*": "pixel_decoder.input_convs.#.conv.*",
    "pixels.input_projections.#.1.*": "pixel_decoder.input_convs.#.gn.*",
    "pixels.encoder.layers.#.self_attn_layer_norm.*": _PIXELS + "norms.0.*",
    "pixels.encoder.layers.#.final_layer_norm.*": _PIXELS + "norms.1.*",
    "pixels.encoder.layers.#.fc1.*": _PIXELS + "ffn.layers.0.0.*",
    "pixels.encoder.layers.#.fc2.*": _PIXELS + "ffn.layers.1.*",
    "pixels.encoder.layers.#.self_attn.**": _PIXELS + "self_attn.**",
    "pixels.adapter_1.0.*": "pixel_decoder.lateral_convs.0.conv.*",
    "pixels.adapter_1.1.*": "pixel_decoder.lateral_convs.0.gn.*",
    "pixels.layer_1.0.*": "pixel_decoder.output_convs.0.conv.*",
    "pixels.layer_1.1.*": "pixel_decoder.output_convs.0.gn.*",
    "pixels.mask_projection.*": "pixel_decoder.mask_feature.*",
    "transformer.queries_embedder.weight": "query_embed.weight",
    "transformer.queries_features.weight": "query_feat.weight",
    "transformer.queries_features.layer.*": "querys2feat.*",  # of linked queries
    "transformer.level_embed.weight": "level_embed.weight",
    "transformer.decoder.layers.#.self_attn.q_proj.*": _LAYERS + "self_attn.attn.in_proj_*",
    "transformer.decoder.layers.#.self_attn.k_proj.*": _LAYERS + "self_attn.attn.in_proj_*",
    "transformer.decoder.layers.#.self_attn.v_proj.*": _LAYERS + "self_attn.attn.in_proj_*",
    "transformer.decoder.layers.#.self_attn.out_proj.*": _LAYERS + "self_attn.attn.out_proj.*",
    "transformer.decoder.layers.#.cross_attn.**": _LAYERS + "cross_attn.attn.**",
    "transformer.decoder.layers.#.cross_attn_layer_norm.*": _LAYERS + "norms.0.*",
    "transformer.decoder.layers.#.self_attn_layer_norm.*": _LAYERS + "norms.1.*",
    "transformer.decoder.layers.#.final_layer_norm.*": _LAYERS + "norms.2.*",
    "transformer.decoder.layers.#.fc1.*": _LAYERS + "ffn.layers.0.0.*",
    "transformer.decoder.layers.#.fc2.*": _LAYERS + "ffn.layers.1.*",
    "transformer.decoder.layernorm.*": "transformer_decoder.post_norm.*",
    # Two linear layers with a ReLU each, which counts as a module there, and one without.
    "transformer.decoder.mask_predictor.mask_embedder.0.0.*": "mask_embed.0.*",
    "transformer.decoder.mask_predictor.mask_embedder.1.0.*": "mask_embed.2.*",
    "transformer.decoder.mask_predictor.mask_embedder.2.0.*": "mask_embed.4.*",
    "classify.*": "cls_embed.*",
}
DECODERS: Mapping[str, Names] = {
    "mask2former": {
        **{f"decoder.{ours}": f"decode_head.{theirs}" for ours, theirs in _HEAD.items()},
        "decoder.criterion.empty_weight": None,
    },
    "segformer": {"decoder.pyramid.**": "neck.**", "decoder.head.**": "decode_head.**"},
    "linear": {"decoder.**": "decode_head.**"},
}
"""By the name of the decoder; the light and the linear decoder have mmsegmentation's names already."""
PLAIN: Names = {"backbone.vit.**": "backbone.**"}
REIN: Names = {
    "backbone.rein.a": "backbone.reins.learnable_tokens_a",
    "backbone.rein.b": "backbone.reins.learnable_tokens_b",
    "backbone.rein.scale": "backbone.reins.scale",
    "backbone.rein.token_to_feature.*": "backbone.reins.mlp_token2feat.*",
    "backbone.rein.feature.*": "backbone.reins.mlp_delta_f.*",
    "backbone.rein.query.*": "backbone.reins.transform.*",
    "backbone.rein.merge.*": "backbone.reins.merge.*",
    **PLAIN,
}
_PAIRS = {
    "attn_qkv.0": "attn.q", "attn_qkv.1": "attn.k", "attn_qkv.2": "attn.v", "attn_proj.0": "attn.proj",
    "mlp_fc1.0": "mlp.fc1", "mlp_fc2.0": "mlp.fc2",
}  # fmt: skip
SOMA: Names = {
    **{
        f"backbone.minor_components.#_{ours}.{part}": f"backbone.model.blocks.#.{theirs}.lora_{part.upper()}.weight"
        for ours, theirs in _PAIRS.items()
        for part in ("a", "b")
    },
    "backbone.vit.blocks.#.attn.qkv.*": tuple(f"backbone.model.blocks.#.attn.{part}.*" for part in "qkv"),
    "backbone.vit.**": "backbone.model.**",
}


@dataclass(frozen=True)
class Same:
    """Tensors with the same values under our names and theirs; both sides are equal if joined along the first axis."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]


def pair(names: Names, ours: Iterable[str]) -> list[Same]:
    """Return the tensors ``ours`` with their names in a checkpoint, without constants.

    Raises:
        KeyError: a tensor without a name there.
    """
    found: dict[tuple[str, ...], dict[int, str]] = {}
    for name in ours:
        place, theirs = _renamed(tuple(names.items()), name)
        if theirs:
            found.setdefault(theirs, {})[place] = name
    return [Same(tuple(each[place] for place in sorted(each)), theirs) for theirs, each in found.items()]


@cache
def _renamed(names: tuple[tuple[str, Theirs], ...], name: str) -> tuple[int, tuple[str, ...]]:
    """Return the position of the first row that has ``name``, and the names there."""
    for place, (ours, theirs) in enumerate(names):
        if matched := _pattern(ours).fullmatch(name):
            parts = (theirs,) if isinstance(theirs, str) else theirs or ()
            return place, tuple(_filled(part, matched.groups()) for part in parts)
    raise KeyError(name)


@cache
def _pattern(ours: str) -> re.Pattern[str]:
    text = re.escape(ours).replace(r"\*\*", "(.+)").replace(r"\*", r"(\w+)").replace(r"\#", r"(\d+)")
    return re.compile(text)


def _filled(theirs: str, values: tuple[str, ...]) -> str:
    left = iter(values)
    return re.sub(r"\*\*|\*|#", lambda _: next(left), theirs)
