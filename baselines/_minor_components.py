"""Trainable low-rank pairs from components of frozen matrices: shared by SoMA, GeCo and, in part, RecycleLoRA."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines._layers import add_change, call_projection
from benchmark.method import Method, Settings, UserError, candidates, setting
from benchmark.models.backbone import Backbone

NAME = "minor_components"


class MinorComponentSettings(Settings):
    """SoMA's values for GTA5, the same in the paper and in the released configuration."""

    rank: int = setting(16, "paper", "r, components per matrix; alpha = r, so the scale is 1", ge=1)
    lr: float = setting(5e-5, "paper", "of pairs and biases (half the decoder's)", gt=0, le=1)
    weight_decay: float = setting(0.05, "paper", "initial value, for pairs and biases", ge=0, lt=1)
    weight_decay_end: float = setting(1e-5, "paper", "final value of the cosine schedule", ge=0, lt=1)


def minor_components(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return the last ``rank`` singular components of a matrix W = U S Vᵀ as a pair (A, B).

    A = √S Vᵀ (rank, in) and B = U √S (out, rank) with singular values in descending order, so that B A is the
    contribution of these components to W. The decomposition runs on the CPU in float64, and signs are fixed (the
    largest entry of each row of A is positive), so that results agree between machines up to float32 rounding unless
    singular values coincide.
    """
    matrix = weight.detach().double()
    matrix = matrix if matrix.is_meta else matrix.cpu()
    wide = matrix.shape[0] < matrix.shape[1]  # LAPACK is three times faster on the transpose
    u, s, vt = torch.linalg.svd(matrix.T if wide else matrix, full_matrices=False)
    u, s, vt = (vt.T, s, u.T) if wide else (u, s, vt)
    u, s, vt = u[:, -rank:], s[-rank:], vt[-rank:]
    sign = vt.gather(1, vt.abs().argmax(1, keepdim=True)).sign()
    a, b = s.sqrt()[:, None] * sign * vt, u * sign.T * s.sqrt()
    return a.to(weight), b.to(weight)


class Pair(nn.Module):
    """A trainable product B A, times a fixed ``scale``, added to a frozen matrix W.

    Args:
        a: (rank, in), initial A.
        b: (out, rank), initial B.
        in_place: whether B A replaces its initial value within W: W - B₀A₀ + B A. W itself is not modified; the output
            of the initial pair is subtracted from that of the trained one, which is exactly zero at the start.
            Otherwise the result is W + B A.
        scale: factor of both products.
    """

    start_a: Tensor | None
    start_b: Tensor | None

    def __init__(self, a: Tensor, b: Tensor, in_place: bool, scale: float = 1.0) -> None:
        super().__init__()
        self.a, self.b, self.scale = nn.Parameter(a), nn.Parameter(b), scale
        self.register_buffer("start_a", a.clone() if in_place else None)
        self.register_buffer("start_b", b.clone() if in_place else None)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the term to add to W x, (..., out), for inputs x (..., in)."""
        change = F.linear(self.scale * F.linear(inputs, self.a), self.b)
        if self.start_a is None or self.start_b is None:
            return change
        return change - F.linear(self.scale * F.linear(inputs, self.start_a), self.start_b)

    def change(self) -> Tensor:
        """Return the matrix (out, in) that the pair adds to W, in float64."""
        change = self.b.detach().double() @ self.a.detach().double()
        if self.start_a is not None and self.start_b is not None:
            change -= self.start_b.double() @ self.start_a.double()
        return self.scale * change


class MinorComponents(Method):
    """Pairs for the query, key, value, output-projection and feed-forward matrices of all blocks from L // 3 on.

    The first 8 of a ViT-L's 24 blocks are frozen, as in the paper; using the same fraction for other depths is our
    choice. A fused qkv matrix counts as three matrices, each with its own pair. The biases of these layers also train
    (including EVA02's separate query and value biases). Everything else is frozen and in eval mode. Weight decay
    follows a cosine schedule over the iterations.

    peft has no equivalent: PiSSA uses the largest components, MiCA freezes B and starts from A = 0, and neither splits
    a fused matrix.
    """

    Settings = MinorComponentSettings

    def pair(self, weight: Tensor, rng: torch.Generator) -> Pair:
        """Return the pair for a pre-trained ``weight`` (out, in)."""
        return Pair(*minor_components(weight, self.settings.rank), in_place=True)

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze the backbone, add the pairs with their hooks, and make the biases of these layers trainable.

        Raises:
            UserError: the rank exceeds that of a matrix, or the blocks have unknown layers.
        """
        shares = _shares(backbone)
        weights = {name: [backbone.get_parameter(f"{name}.weight")[rows] for rows in shares[name]] for name in shares}
        self._refuse_rank(weights)
        self.begin(backbone)
        pairs = nn.ModuleDict()
        self._pairs: dict[str, nn.ModuleList] = {}
        for name, parts in weights.items():
            layer_pairs = self._pairs[name] = nn.ModuleList(self.pair(weight, rng) for weight in parts)
            pairs[name.removeprefix("vit.blocks.").replace(".", "_")] = layer_pairs
            self.hook(backbone.get_submodule(name).register_forward_hook(partial(_add, layer_pairs)))
        self._biases = _biases(backbone, list(shares))
        self.add(NAME, pairs)
        for bias in self._biases:
            bias.requires_grad_(True)
        self._redirected: list[Any] = [block for block in backbone.blocks if call_projection(block)]

    def _refuse_rank(self, weights: dict[str, list[Tensor]]) -> None:
        for name, parts in weights.items():
            components = min(min(weight.shape) for weight in parts)
            if self.settings.rank > components:
                raise UserError(
                    f"{self.label}: rank {self.settings.rank} exceeds the {components} singular components of "
                    f"{name}; use a lower rank"
                )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group of all pairs and biases."""
        params = [*self._added[NAME].parameters(), *self._biases]
        return [{"params": params, "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]

    def optimizer(self, betas: tuple[float, float], eps: float) -> torch.optim.Optimizer | None:
        """Return AdamW; :meth:`before_step` sets its weight decay."""
        self._optimizer = super().optimizer(betas, eps)
        return self._optimizer

    def before_step(self, step: int, steps: int) -> None:
        """Set the weight decay of this step: cosine from ``weight_decay`` to ``weight_decay_end``."""
        start, end = self.settings.weight_decay, self.settings.weight_decay_end
        decay = end + (start - end) * (1 + math.cos(math.pi * step / steps)) / 2
        for group in self._optimizer.param_groups if self._optimizer else []:
            group["weight_decay"] = decay

    def merged(self) -> dict[str, Tensor]:
        """Return the backbone's weights with the products of the pairs added to their matrices."""
        state = self.plain_state()
        for name, pairs in self._pairs.items():
            add_change(state, name, torch.cat([cast(Pair, pair).change() for pair in pairs]))
        return state

    def detach(self) -> None:
        """Remove pairs and hooks."""
        for block in self._redirected:
            block.attn.qkv_bias_separate = False
        super().detach()


def _shares(backbone: Backbone) -> dict[str, list[slice]]:
    """Return, for each layer with pairs, the row ranges of its weight that are separate matrices."""
    first = backbone.depth // 3
    shares: dict[str, list[slice]] = {}
    for candidate in candidates(backbone):
        if candidate.block >= first:
            shares.setdefault(candidate.name.removesuffix(".weight"), []).append(candidate.rows)
    return shares | {f"vit.blocks.{index}.attn.proj": [slice(None)] for index in range(first, backbone.depth)}


def _biases(backbone: Backbone, layers: list[str]) -> list[nn.Parameter]:
    """Return the biases of the layers, including those that timm stores next to a fused projection."""
    names = {f"{layer}.bias" for layer in layers}
    for layer in layers:
        attention, _, projection = layer.rpartition(".")
        if projection == "qkv":
            names |= {f"{attention}.q_bias", f"{attention}.v_bias"}
    return [parameter for name, parameter in backbone.named_parameters() if name in names]


def _add(pairs: nn.ModuleList, layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    return output + torch.cat([pair(args[0]) for pair in pairs], dim=-1)
