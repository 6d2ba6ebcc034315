"""AdaptFormer: a bottleneck adapter parallel to the feed-forward layers of each block."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from benchmark.method import Method, Settings, UserError, setting
from benchmark.models.backbone import Backbone


class AdaptFormerSettings(Settings):
    """Adapter as in its paper; FisherTune reports AdaptFormer for DGSS, but its training is unpublished."""

    bottleneck: int = setting(64, "paper", "3.17 M parameters on a ViT-L, as in FisherTune's Table 1", ge=1)
    scale: float = setting(0.1, "paper", "s, fixed", gt=0)
    dropout: float = setting(0.1, "paper", "between the two layers (released code)", ge=0, lt=1)
    lr: float = setting(1e-4, "ours", "unpublished for DGSS; same as Rein's adapter", gt=0, le=1)
    weight_decay: float = setting(
        0.05, "ours", "unpublished for DGSS; same as the linear layers (with biases) of Rein's adapter", ge=0, lt=1
    )


class Adapter(nn.Module):
    """Maps tokens x (..., D) to s · (U · drop(ReLU(Dn · x + b)) + c), of the same shape.

    Dn is initialised uniformly in ±1/√D (Kaiming, a = √5) from ``rng``; U, b and c with zeros.
    """

    def __init__(self, dim: int, bottleneck: int, scale: float, dropout: float, rng: torch.Generator) -> None:
        super().__init__()
        self.scale = scale
        self.down = skip_init(nn.Linear, dim, bottleneck)
        self.dropout = nn.Dropout(dropout)
        self.up = skip_init(nn.Linear, bottleneck, dim)
        with torch.no_grad():
            self.down.weight.uniform_(-(dim**-0.5), dim**-0.5, generator=rng)
            for zero in (self.down.bias, self.up.weight, self.up.bias):
                zero.zero_()

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the term that is added to the output of the block."""
        return self.scale * self.up(self.dropout(self.down(tokens).relu()))


class AdaptFormer(Method):
    """y = x + FFN(LN2(x)) + adapter(x), with x the tokens after attention and before the second norm.

    The adapter has no norm, and the LayerScale and drop path of the block do not apply to it. The backbone is frozen
    and in eval mode. At the start, the model computes the same as the pre-trained one.
    """

    label = "AdaptFormer"
    source = "Chen et al., AdaptFormer, NeurIPS 2022"
    Settings = AdaptFormerSettings
    unmergeable = "its adapters are not linear (ReLU) and run beside the feed-forward layers"

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze the backbone and add the adapters with their hooks.

        Raises:
            UserError: the blocks are not pre-norm.
        """
        for index, block in enumerate(backbone.blocks):
            if not _is_pre_norm(block):
                raise UserError(
                    f"adaptformer does not support backbone {backbone.name!r}: block {index} has no norm2 before "
                    "its mlp; choose a backbone with pre-norm blocks"
                )
        self.begin(backbone)
        s = self.settings
        adapters = [Adapter(backbone.embed_dim, s.bottleneck, s.scale, s.dropout, rng) for _ in backbone.blocks]
        self.add("adaptformer", nn.ModuleList(adapters))
        for block, adapter in zip(backbone.blocks, adapters, strict=True):
            addition: list[Tensor] = []
            norm = block.get_submodule("norm2")
            self.hook(norm.register_forward_pre_hook(partial(_adapt, adapter, addition)))
            self.hook(block.register_forward_hook(partial(_add, addition)))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group of all adapters."""
        adapters = self._added["adaptformer"].parameters()
        return [{"params": list(adapters), "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]


def _is_pre_norm(block: nn.Module) -> bool:
    # timm registers the parts of a block in the order in which it calls them.
    parts = [name for name, _ in block.named_children() if name in ("norm2", "mlp")]
    return parts == ["norm2", "mlp"]


def _adapt(adapter: Adapter, addition: list[Tensor], norm: nn.Module, args: tuple[Any, ...]) -> None:
    addition[:] = [adapter(args[0])]


def _add(addition: list[Tensor], block: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    return output + addition.pop().reshape(output.shape)  # SAM passes a sequence to norm2 and returns a map


METHOD = AdaptFormer
