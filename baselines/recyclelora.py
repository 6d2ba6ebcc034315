"""RecycleLoRA: two adapters per linear layer, from the last and the first columns of its pivoted QR decomposition."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import numpy as np
import scipy.linalg
import torch
from torch import Tensor, nn

from baselines._layers import add_change, call_projection
from baselines._minor_components import Pair
from benchmark.method import Method, Settings, UserError, setting
from benchmark.models.backbone import Backbone

NAME = "recyclelora"


class RecycleLoRASettings(Settings):
    """Values of the released configuration for GTA5."""

    rank: int = setting(32, "paper", "of the main adapter, from the last columns of Q", ge=1)
    sub_rank: int = setting(4, "paper", "of the sub adapter, from the first columns of Q", ge=1)
    alpha: float = setting(1.0, "paper", "the scale is alpha / (rank + sub_rank), so 1 / 36", gt=0)
    lr: float = setting(1e-4, "paper", "of the main adapter", gt=0, le=1)
    sub_lr_ratio: float = setting(0.5, "paper", "learning rate of the sub adapter, relative to lr", gt=0, le=1)
    weight_decay: float = setting(0.0, "paper", "none for both adapters", ge=0, lt=1)


def pivot_components(weight: Tensor, rank: int, sub_rank: int) -> list[tuple[Tensor, Tensor]]:
    """Return the minor and the major components of a matrix W (out, in), each as a pair (A, B).

    W P = Q R is the QR decomposition with column pivoting: step i picks the column of W that is farthest from the span
    of those picked before, and the part of it outside the span has the direction of column i of Q. Component i is the
    matrix with this direction in the picked column and zeros elsewhere. Of the min(out, in) components, the first
    ``sub_rank`` are major and the last ``rank`` are minor. B (out, r) has their columns of Q, A (r, in) has a one in
    each picked column.

    The decomposition runs on the CPU in float64, and signs are fixed (the diagonal of R is not negative), so that
    results agree between machines up to float32 rounding unless two columns are equally far.
    """
    out, inputs = weight.shape
    if weight.is_meta:
        return [(weight.new_empty(r, inputs), weight.new_empty(out, r)) for r in (rank, sub_rank)]
    count = min(out, inputs)
    chosen = np.r_[count - rank : count, :sub_rank]
    # qr_multiply computes only the chosen columns of Q.
    matrix, columns = weight.detach().double().cpu().numpy(), np.eye(count)[:, chosen]
    q, r, pivots = scipy.linalg.qr_multiply(matrix, columns, mode="left", pivoting=True)
    b = torch.from_numpy(q * np.where(np.diag(r)[chosen] < 0, -1, 1)).to(weight)
    a = weight.new_zeros(len(chosen), inputs)
    a[range(len(chosen)), pivots[chosen].tolist()] = 1
    return [(a[rows].clone(), b[:, rows].contiguous()) for rows in (slice(rank), slice(rank, None))]


class RecycleLoRA(Method):
    """W - s (B₀A₀ + B₀′A₀′) + s (B A + B′A′), with a main pair (A, B) and a sub pair (A′, B′) for every linear layer.

    The layers are those of the blocks; a fused qkv matrix is one. The pairs start as components of W, see
    :func:`pivot_components`, and s = alpha / (rank + sub_rank). As in :mod:`baselines.soma`, W is not modified: the
    output of the initial pairs is subtracted, so the model computes the same as the pre-trained one at the start.
    Everything else, biases included, is frozen and in eval mode. On a ViT-L: 14,155,776 parameters, whose
    initial values take about a minute on one CPU core.

    Differences from the released code:

    - It decomposes in float32, and the signs of Q's columns are LAPACK's.
    - It also trains DINOv2's mask token (1,024 parameters), which is never used and which this backbone does not have.

    Erratum: the released configuration for GTA5 trains on 12,403 random images with an unset seed, so its training set
    is another one in each run. Here, the protocol decides on the images.
    """

    label = "RecycleLoRA"
    source = "Cho et al., RecycleLoRA, CVPR 2026 Findings; its released code"
    Settings = RecycleLoRASettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze the backbone; add the pairs, and a hook on each linear layer.

        Raises:
            UserError: the ranks exceed that of a matrix.
        """
        layers = {
            name: layer for name, layer in backbone.named_modules()
            if isinstance(layer, nn.Linear) and name.startswith("vit.blocks.")
        }  # fmt: skip
        self._refuse_rank(layers)
        self.begin(backbone)
        s = self.settings
        adapters = nn.ModuleDict()
        self._pairs: dict[str, nn.ModuleDict] = {}
        for name, layer in layers.items():
            components = pivot_components(layer.weight, s.rank, s.sub_rank)
            main, sub = (Pair(a, b, in_place=True, scale=s.alpha / (s.rank + s.sub_rank)) for a, b in components)
            pairs = self._pairs[name] = nn.ModuleDict({"main": main, "sub": sub})
            adapters[name.removeprefix("vit.blocks.").replace(".", "_")] = pairs
            self.hook(layer.register_forward_hook(partial(_add, pairs)))
        self.add(NAME, adapters)
        self._redirected: list[Any] = [block for block in backbone.blocks if call_projection(block)]

    def _refuse_rank(self, layers: dict[str, nn.Linear]) -> None:
        rank = self.settings.rank + self.settings.sub_rank
        for name, layer in layers.items():
            components = min(layer.weight.shape)
            if rank > components:
                raise UserError(
                    f"{self.label}: rank + sub_rank = {rank} exceeds the {components} components of {name}; use lower "
                    "ranks"
                )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return a group of main pairs and one of sub pairs, which have a lower learning rate."""
        s, adapters = self.settings, self._added[NAME].children()
        main, sub = zip(*(pairs.children() for pairs in adapters), strict=True)
        return [
            {"params": [p for pair in chosen for p in pair.parameters()], "lr": lr, "weight_decay": s.weight_decay}
            for chosen, lr in ((main, s.lr), (sub, s.lr * s.sub_lr_ratio))
        ]

    def merged(self) -> dict[str, Tensor]:
        """Return the backbone's weights with the products of both pairs added to the matrix of each layer."""
        state = self.plain_state()
        for name, pairs in self._pairs.items():
            main, extra = (cast(Pair, pair).change() for pair in pairs.values())
            add_change(state, name, main + extra)
        return state

    def detach(self) -> None:
        """Remove pairs and hooks."""
        for block in self._redirected:
            block.attn.qkv_bias_separate = False
        super().detach()


def _add(pairs: nn.ModuleDict, layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    return output + pairs["main"](args[0]) + pairs["sub"](args[0])


METHOD = RecycleLoRA
