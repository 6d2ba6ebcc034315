"""Visual query tuning: learnt query tokens attend to the tokens of each block without changing them."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.method import Method, Settings, UserError, setting
from benchmark.models.backbone import Backbone


class VQTSettings(Settings):
    """FisherTune reports VQT for segmentation without code; its 3.01 M parameters correspond to no integer T."""

    queries: int = setting(5, "paper", "T per block, default of the released code (its README recommends 1)", ge=1)
    dropout: float = setting(0.1, "paper", "on the query tokens (released script)", ge=0, lt=1)
    lr: float = setting(1e-4, "ours", "unpublished for DGSS; same as Rein's adapter", gt=0, le=1)
    weight_decay: float = setting(
        0.0, "ours", "unpublished for DGSS; Rein's tokens are exempt from weight decay", ge=0, lt=1
    )


class Queries(nn.Module):
    """The query tokens of all blocks, (depth, T, D), uniform in ±√(6 / (3p² + D)) for patch size p."""

    def __init__(self, depth: int, queries: int, dim: int, patch: int, dropout: float, rng: torch.Generator) -> None:
        super().__init__()
        bound = math.sqrt(6 / (3 * patch**2 + dim))
        self.tokens = nn.Parameter(torch.empty(depth, queries, dim).uniform_(-bound, bound, generator=rng))
        self.dropout = nn.Dropout(dropout)

    def forward(self, block: int, batch: int) -> Tensor:
        """Return one block's query tokens (batch, T, D)."""
        return self.dropout(self.tokens[block].expand(batch, -1, -1))


class VQT(Method):
    """The query tokens of a block attend to its other tokens, pass its feed-forward layers and are then removed.

    They are queries only (keys and values come from the usual tokens), so the input of the next block is bit-identical
    to that of the frozen backbone. Query tokens have no position in the image: blocks with rotary position embedding
    (EVA02, DINOv3) rotate the keys but not them.

    Our extension to SAM: most of its blocks use windowed attention, for which no paper says what a query token attends
    to. Since query tokens have no position, they belong to no window and have no relative position: they attend to all
    tokens of the map, in windowed and global blocks.

    Our choice: how the decoder uses them. The paper classifies images, with a head on the concatenated query outputs; a
    segmentation decoder would ignore them, and VQT would equal Freeze. Here, the features f (D, h, w) that the decoder
    gets from a block become f + softmax(f qᵀ / √D) q at each position, over the block's T query outputs q. The input of
    the next block does not change, and no parameter is added. If there are blocks between two out indices, the second
    term is the mean over the blocks since the previous out index, so that all query tokens are used.
    """

    label = "VQT"
    source = "Tu et al., Visual Query Tuning, CVPR 2023"
    Settings = VQTSettings
    unmergeable = "it adds query tokens to every block, and their outputs to the features"

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze the backbone; add the query tokens and the hooks that run and read them.

        Raises:
            UserError: the blocks are not timm's plain, EVA or SAM blocks.
        """
        for index, block in enumerate(backbone.blocks):
            if obstacle := _obstacle(block):
                raise UserError(
                    f"vqt does not support backbone {backbone.name!r}: block {index} {obstacle}; choose another one"
                )
        self.begin(backbone)
        s = self.settings
        dim, patch = backbone.embed_dim, backbone.patch_size
        queries = Queries(backbone.depth, s.queries, dim, patch, s.dropout, rng)
        self.add("vqt", queries)
        outputs: dict[int, Tensor] = {}
        for index, block in enumerate(backbone.blocks):
            run = partial(_run, queries, index, outputs)
            self.hook(block.register_forward_hook(run, with_kwargs=True))
        self.hook(backbone.register_forward_hook(partial(_hand_over, outputs)))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group of all query tokens."""
        tokens = self._added["vqt"].parameters()
        return [{"params": list(tokens), "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]


def _obstacle(block: nn.Module) -> str:
    """Return why a block does not support query tokens; empty if it does."""
    from timm.layers import Attention, AttentionRope  # imported here, since it takes seconds
    from timm.models.eva import EvaAttention, EvaBlock
    from timm.models.vision_transformer import Block
    from timm.models.vision_transformer_sam import Attention as SAMAttention
    from timm.models.vision_transformer_sam import Block as SAMBlock

    attention: Any = getattr(block, "attn", None)
    if isinstance(block, SAMBlock) and isinstance(attention, SAMAttention):
        return "has rotary attention" if attention.rope is not None else ""
    if not isinstance(block, Block | EvaBlock) or not isinstance(attention, Attention | AttentionRope | EvaAttention):
        return f"({type(block).__name__} with {type(attention).__name__}) is not timm's plain, EVA or SAM block"
    if attention.gate is not None or getattr(attention, "num_kv_groups", 1) > 1:
        return "has gated attention or shared keys"
    return ""


def _run(
    queries: Queries,
    index: int,
    outputs: dict[int, Tensor],
    block: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    output: Tensor,
) -> None:
    tokens: Tensor = args[0].flatten(1, -2)  # SAM's tokens form a map
    outputs[index] = pass_through(block, queries(index, len(tokens)), tokens, kwargs.get("rope"))


def _hand_over(
    outputs: dict[int, Tensor], backbone: Backbone, args: tuple[Any, ...], features: list[Tensor]
) -> list[Tensor]:
    read_out, first = [], 0
    for last, level in zip(sorted(backbone.out_indices), features, strict=True):
        readings = [read(level, outputs.pop(index)) for index in range(first, last + 1)]
        read_out.append(level + torch.stack(readings).mean(0))
        first = last + 1
    return read_out


def read(features: Tensor, queries: Tensor) -> Tensor:
    """Return, for each position of features (B, D, h, w), the attention-weighted query outputs (B, T, D)."""
    positions = features.flatten(2).mT
    weights = (positions @ queries.mT * queries.shape[-1] ** -0.5).softmax(-1)
    return (weights @ queries).mT.view_as(features)


def pass_through(block: Any, queries: Tensor, tokens: Tensor, rope: Tensor | None) -> Tensor:
    """Return the outputs of a block for query tokens (B, T, D) that attend to its input tokens (B, N, D).

    Args:
        block: in eval mode.
        rope: rotary embedding of the patch tokens, if the block has one.
    """
    x = queries + _scaled(block, 1, _attend(block.attn, block.norm1(queries), block.norm1(tokens), rope))
    return x + _scaled(block, 2, block.mlp(block.norm2(x)))


def _scaled(block: Any, branch: int, x: Tensor) -> Tensor:
    """Apply LayerScale: a module in timm's plain block, a parameter or None in EVA's."""
    if hasattr(block, f"ls{branch}"):
        return getattr(block, f"ls{branch}")(x)
    gamma = getattr(block, f"gamma_{branch}")
    return x if gamma is None else gamma * x


def _attend(attn: Any, queries: Tensor, tokens: Tensor, rope: Tensor | None) -> Tensor:
    """Attend from normed queries to normed tokens, with the weights of the block."""
    from timm.layers import apply_rot_embed_cat

    projected = _project(attn, queries, tokens)
    q, k, v = (t.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for t in projected)
    q, k = attn.q_norm(q), attn.k_norm(k)
    if rope is not None:
        prefix, patches = k.tensor_split([attn.num_prefix_tokens], dim=2)
        k = torch.cat([prefix, apply_rot_embed_cat(patches, rope, half=attn.rotate_half)], dim=2).type_as(v)
    attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    return attn.proj(attn.norm(attended) if hasattr(attn, "norm") else attended)


def _project(attn: Any, queries: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if attn.qkv is None:
        return attn.q_proj(queries), attn.k_proj(tokens), attn.v_proj(tokens)
    weight, bias = attn.qkv.weight, attn.qkv.bias
    if getattr(attn, "q_bias", None) is not None:  # EVA02-S stores the biases of the fused projection separately
        bias = torch.cat([attn.q_bias, attn.k_bias, attn.v_bias])
    width = len(weight) // 3
    first, rest = (None, None) if bias is None else (bias[:width], bias[width:])
    key, value = F.linear(tokens, weight[width:], rest).chunk(2, dim=-1)
    return F.linear(queries, weight[:width], first), key, value


METHOD = VQT
