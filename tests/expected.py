"""What each method trains, written down independently of its code."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from benchmark.common import registry
from tests.small import DEPTH, DIM

# Ablations: the method that each derives from, and the hyperparameters in which it differs.
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "random-all": ("fishertune", {"criterion": "random"}),
    "random-q": ("fishertune", {"criterion": "random", "groups": ("q",)}),
    "random-k": ("fishertune", {"criterion": "random", "groups": ("k",)}),
    "random-v": ("fishertune", {"criterion": "random", "groups": ("v",)}),
    "fim": ("fishertune-per-sample", {"criterion": "f"}),
    "delta-fim": ("fishertune-per-sample", {"criterion": "delta-f"}),
    "fim-variational": ("fishertune", {"criterion": "f"}),
    "delta-fim-variational": ("fishertune", {"criterion": "delta-f"}),
}
# The contract tests skip arms, which tests/methods/test_ablations.py proves equal to their base. They keep one of those
# that estimate nothing.
RANDOM = "random-all"
METHODS = sorted(set(registry.names("method")) - set(ARMS) | {RANDOM})


@dataclass(frozen=True)
class Expected:
    """What a method trains; tensors are given as regular expressions of their names.

    Attributes:
        whole: pre-trained tensors that train entirely.
        part: pre-trained tensors of which selected entries train.
        share: how many entries are selected: (fraction of, which tensors).
        per_row: how many entries of each row are selected in all tensors of ``part``, in addition to ``share``.
        added: new tensors.
        added_count: number of new entries, given whether q, k and v are separate projections.
        pairs: (rank, which pre-trained tensors) where a product of two new matrices is added to a weight matrix; their
            entries are counted in addition to ``added_count``.
        split: whether a fused qkv has three such products.
        vectors: (how many, which pre-trained tensors) where new vectors with one value per output of a layer are added;
            they are counted in addition, too.
        drop_path: whether the backbone is in train mode while it trains, with drop path on, or in eval mode.
    """

    whole: str = "never"
    part: str = "never"
    share: tuple[float, str] = (0.0, ".*")
    per_row: int = 0
    added: str = "never"
    added_count: Callable[[bool], int] = lambda separate: 0
    pairs: tuple[int, str] = (0, "never")
    split: bool = True
    vectors: tuple[int, str] = (0, "never")
    drop_path: bool = False

    def selected(self, tensors: dict[str, nn.Parameter]) -> int:
        """Return how many entries of the tensors in ``part`` are selected."""
        share, among = self.share
        count = round(share * sum(tensor.numel() for name, tensor in tensors.items() if re.fullmatch(among, name)))
        return count + sum(
            self.per_row * len(tensor) for name, tensor in tensors.items() if re.fullmatch(self.part, name)
        )

    def new(self, tensors: dict[str, nn.Parameter]) -> int:
        """Return how many entries the method adds to a backbone with these pre-trained tensors."""
        rank, beside = self.pairs
        count = self.added_count("vit.blocks.0.attn.q_proj.weight" in tensors)
        for name, tensor in tensors.items():
            if re.fullmatch(beside, name):
                rows, columns = tensor.shape
                count += rank * (rows + columns * (3 if self.split and "qkv" in name else 1))
            if re.fullmatch(self.vectors[1], name):
                count += self.vectors[0] * len(tensor)
        return count


THETA = r"vit\.blocks\.\d+\.(attn\.(qkv|[qkv]_proj)|mlp\.fc\d(_[gx])?)\.weight"
REIN_LINEAR = 2 * (DIM * DIM + DIM) + (256 * DIM + 256) + (3 * 256 * 256 + 256)
# The upper two of three blocks.
MINOR = Expected(
    whole=r"vit\.blocks\.[12]\.(attn\.(qkv|[qv]_proj|proj)\.bias|attn\.[qv]_bias|mlp\.fc\d(_[gx])?\.bias)",
    added=r"minor_components\.[12]_(attn|mlp)_(qkv|[qkv]_proj|proj|fc\d(_[gx])?)\.\d\.[ab]",
    pairs=(16, r"vit\.blocks\.[12]\.(attn\.(qkv|[qkv]_proj|proj)|mlp\.fc\d(_[gx])?)\.weight"),
)
EXPECTED = {
    "full": Expected(whole=".*", drop_path=True),
    "l2-sp": Expected(whole=".*", drop_path=True),
    "lp-ft": Expected(whole=".*", drop_path=True),
    "wise-ft": Expected(whole=".*", drop_path=True),
    "freeze": Expected(),
    "bitfit": Expected(whole=r".*[._]bias"),
    "layernorm": Expected(whole=r"vit\.(.*\.)?(norm\d?|norm_pre|fc_norm)\.(weight|bias)"),
    "lora": Expected(
        added=r"vit\.blocks\.\d+\.attn\.(qkv|[qkv]_proj)\.lora_[AB]\.default\.weight",
        added_count=lambda separate: DEPTH * 8 * (6 if separate else 4) * DIM,
    ),
    "dora": Expected(
        added=r"vit\.blocks\.\d+\.attn\.(qkv|[qkv]_proj)\.lora_([AB]|magnitude_vector)\.default\.weight",
        added_count=lambda separate: DEPTH * (8 * (6 if separate else 4) + 3) * DIM,
    ),
    "adaptformer": Expected(
        added=r"adaptformer\.\d+\.(down|up)\.(weight|bias)",
        added_count=lambda separate: DEPTH * (2 * 64 * DIM + 64 + DIM),
    ),
    "vqt": Expected(added=r"vqt\.tokens", added_count=lambda separate: DEPTH * 5 * DIM),
    "vpt": Expected(added=r"vpt\.tokens", added_count=lambda separate: DEPTH * 150 * DIM),
    "ssf": Expected(added=r"ssf\.\w+\.(scale|shift)", vectors=(2, r".*\.weight")),
    "rein": Expected(
        added=r"rein\..*",
        added_count=lambda separate: DEPTH * (16 * 100 + 16 * DIM) + REIN_LINEAR + 1,
    ),
    "fada": Expected(
        added=r"fada\..*",
        added_count=lambda separate: DEPTH * 16 * (4 * 100 + 2 * DIM) + 4 * (DIM * DIM + DIM),
    ),
    "soma": MINOR,
    "soma-as-released": MINOR,
    "geco": MINOR,
    "recyclelora": Expected(
        added=r"recyclelora\.\d+_(attn|mlp)_(qkv|[qkv]_proj|proj|fc\d(_[gx])?)\.(main|sub)\.[ab]",
        pairs=(32 + 4, r"vit\.blocks\.\d+\.(attn\.(qkv|[qkv]_proj|proj)|mlp\.fc\d(_[gx])?)\.weight"),
        split=False,
    ),
    "random": Expected(part=THETA, share=(0.05, ".*")),
    # q and k of the last of three blocks: two thirds of the fused qkv
    "parts": Expected(
        part=r"vit\.blocks\.2\.attn\.(qkv|[qk]_proj)\.weight",
        share=(2 / 3, r"vit\.blocks\.2\.attn\.(qkv|[qkv]_proj)\.weight"),
    ),
    "childtune-f": Expected(whole=r"vit\.blocks\..*", drop_path=True),
    "childtune-d": Expected(part=r"vit\.blocks\..*", share=(0.3, r"vit\.blocks\..*"), drop_path=True),
    "gps": Expected(
        whole=r"(?!.*(norm|neck)).*(bias|\.gamma(_\d)?)", part=r"(?!.*(norm|neck)).*\.weight", per_row=1, drop_path=True
    ),
    **{name: Expected(part=THETA, share=(0.05, ".*")) for name in ("fishertune", "fishertune-per-sample", RANDOM)},
}
# No gradient: block outputs are read before the last norm, and Rein's query link needs a decoder with object queries.
UNREACHED = r"vit\.(norm|fc_norm)\..*|rein\.(query|merge)\..*|ssf\.(norm|fc_norm)\..*"
VIT_L = {
    "full": 304_198_656,
    "l2-sp": 304_198_656,
    "lp-ft": 304_198_656,
    "wise-ft": 304_198_656,
    "freeze": 0,
    "bitfit": 272_384,
    "layernorm": 100_352,
    "lora": 786_432,
    "dora": 786_432 + 24 * 3 * 1024,
    "adaptformer": 3_171_840,
    "vpt": 3_686_400,
    "vqt": 5 * 24 * 1024,
    "ssf": 544_768,
    "rein": 2_990_081,
    "fada": 5_138_432,
    "soma": 4_718_592 + 147_456,
    "soma-as-released": 4_718_592 + 147_456,
    "geco": 4_718_592 + 147_456,
    "recyclelora": 14_155_776,
    "random": 15_209_933,
    "parts": 8 * 2 * 1024**2,
    "childtune-f": 24 * 12_598_272,
    # one weight and one bias per output of the layers and of the patch embedding; LayerScale
    "gps": 2 * (24 * 9 * 1024 + 1024) + 24 * 2 * 1024,
    "childtune-d": round(0.3 * 24 * 12_598_272),
    **dict.fromkeys(("fishertune", "fishertune-per-sample", RANDOM), 15_209_933),
}
