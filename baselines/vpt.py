"""Visual prompt tuning (VPT-deep): learnt tokens are inserted into the sequence of every block."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.method import Method, Settings, UserError, setting
from benchmark.models.backbone import Backbone


class VPTSettings(Settings):
    """Rein and FisherTune report VPT, but the code behind their results is unpublished."""

    prompts: int = setting(150, "paper", "per block, for a ViT-L at 512: 3.69 M parameters (Rein, Table 3)", ge=1)
    lr: float = setting(1e-4, "ours", "unpublished for DGSS; same as Rein's adapter", gt=0, le=1)
    weight_decay: float = setting(
        0.0, "ours", "unpublished for DGSS; Rein's tokens are exempt from weight decay", ge=0, lt=1
    )


class Prompts(nn.Module):
    """The prompts of all blocks, (depth, prompts, D), uniform in ±√(6 / (3p² + D)) for patch size p."""

    def __init__(self, depth: int, prompts: int, dim: int, patch: int, rng: torch.Generator) -> None:
        super().__init__()
        bound = math.sqrt(6 / (3 * patch**2 + dim))
        self.tokens = nn.Parameter(torch.empty(depth, prompts, dim).uniform_(-bound, bound, generator=rng))


class VPT(Method):
    """VPT-deep: each block has its own prompts, inserted between prefix and patch tokens.

    A block's outputs at its prompts are discarded, so the decoder and the next block get the usual tokens. Prompts have
    no position in the image: blocks with rotary position embedding (EVA02, DINOv3) do not rotate them.

    Our extension to SAM: its tokens form a map and most of its blocks use windowed attention, for which no paper says
    where to insert prompts. Here, the prompts of a block are part of the attention of each of its windows, with the
    same prompts in all windows (a global block is one window). Windows are partitioned and padded as usual, and there
    is no relative position between prompts and patches. Since outputs at prompts are discarded, prompts only act as
    keys and values, which is how it is computed. 150 prompts per block are 6,144,000 parameters on SAM-H.
    """

    label = "VPT"
    source = "Jia et al., Visual Prompt Tuning, ECCV 2022"
    Settings = VPTSettings
    unmergeable = "it inserts tokens into the sequence of every block"

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze the backbone; add prompts and the hooks that insert and discard them.

        Raises:
            UserError: the blocks are windowed but are not SAM's (with relative positions).
        """
        windowed = [hasattr(block, "window_size") for block in backbone.blocks]
        for index, block in enumerate(backbone.blocks):
            if windowed[index] and not getattr(block.attn, "use_rel_pos", False):
                raise UserError(
                    f"vpt does not support backbone {backbone.name!r}: block {index} is windowed without SAM's "
                    "relative positions; choose another backbone"
                )
        self.begin(backbone)
        count = self.settings.prompts
        prompts = Prompts(backbone.depth, count, backbone.embed_dim, backbone.patch_size, rng)
        self.add("vpt", prompts)
        start = backbone.prefix_tokens
        for index, block in enumerate(backbone.blocks):
            if windowed[index]:
                self.hook(_Widened(block, prompts, index))
                continue
            self.hook(block.register_forward_pre_hook(partial(_insert, prompts, index, start)))
            self.hook(block.register_forward_hook(partial(_discard, start, count)))
        self._count_as_prefix(count)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group of all prompts."""
        prompts = self._added["vpt"].parameters()
        return [{"params": list(prompts), "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]

    def detach(self) -> None:
        """Remove prompts and hooks."""
        self._count_as_prefix(-self.settings.prompts)
        super().detach()

    def _count_as_prefix(self, count: int) -> None:
        # timm's rotary attention does not rotate this many leading tokens, and uses the number for nothing else.
        for block in self.backbone.blocks:
            attention: Any = block.attn
            if hasattr(attention, "num_prefix_tokens"):
                attention.num_prefix_tokens += count


def _insert(prompts: Prompts, index: int, start: int, block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    tokens: Tensor = args[0]
    new = prompts.tokens[index].to(tokens.dtype).expand(len(tokens), -1, -1)
    return torch.cat([tokens[:, :start], new, tokens[:, start:]], dim=1), *args[1:]


def _discard(start: int, count: int, block: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    return torch.cat([output[:, :start], output[:, start + count :]], dim=1)


class _Widened:
    """Hook handle: a block's attention with prompts as additional keys and values, until removed."""

    def __init__(self, block: Any, prompts: Prompts, index: int) -> None:
        self.attention = block.attn
        self.attention.forward = partial(_attend, block.attn, block.norm1, prompts, index)

    def remove(self) -> None:
        """Restore the original forward of the attention."""
        del self.attention.forward


def _attend(attention: Any, norm: nn.Module, prompts: Prompts, index: int, windows: Tensor) -> Tensor:
    """Return SAM's attention (eval mode) over normed windows (B, h, w, D), with prompts as keys and values."""
    from timm.models.vision_transformer_sam import get_decomposed_rel_pos_bias

    count, *grid, _ = windows.shape
    q, k, v = _heads(attention, windows.flatten(1, 2))
    _, *further = _heads(attention, norm(prompts.tokens[index].to(windows.dtype))[None])
    k, v = (torch.cat([new.expand(count, -1, -1, -1), own], 2) for new, own in zip(further, (k, v), strict=True))
    bias = get_decomposed_rel_pos_bias(q.flatten(0, 1), attention.rel_pos_h, attention.rel_pos_w, grid, grid)
    bias = F.pad(bias, (len(prompts.tokens[index]), 0)).unflatten(0, (count, -1))
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
    return attention.proj(attended.transpose(1, 2).flatten(2)).view_as(windows)


def _heads(attention: Any, tokens: Tensor) -> list[Tensor]:
    """Return queries, keys and values (B, heads, N, D / heads) of normed tokens (B, N, D)."""
    projected = attention.qkv(tokens).unflatten(-1, (3, attention.num_heads, -1))
    q, k, v = projected.permute(2, 0, 3, 1, 4)
    return [attention.q_norm(q), attention.k_norm(k), v]


METHOD = VPT
