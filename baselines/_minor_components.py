"""Minor singular components as trainable pairs beside frozen matrices: what SoMA and its descendants share."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines._layers import call_projection
from benchmark.method import Method, Settings, UserError, candidates, setting
from benchmark.models.backbone import Backbone

NAME = "minor_components"


class MinorComponentSettings(Settings):
    """SoMA's, for GTA5; its released configuration has the same."""

    rank: int = setting(16, "paper", "r, components per matrix; alpha = r, so the pair's scale is 1", ge=1)
    lr: float = setting(5e-5, "paper", "adapter's and biases' (half the decoder's)", gt=0, le=1)
    weight_decay: float = setting(0.05, "paper", "at the start, on pairs and biases alike", ge=0, lt=1)
    weight_decay_end: float = setting(1e-5, "paper", "that the cosine falls to at the end", ge=0, lt=1)


def minor_components(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return the last ``rank`` singular components of a matrix W = U S Vᵀ as a pair (A, B).

    A = √S Vᵀ (rank, in) and B = U √S (out, rank), singular values descending, so that B A is their part of W.
    The decomposition is made on the CPU in float64 and each component's sign is fixed (the largest entry of
    its row of A is positive), so that machines agree to float32's rounding unless singular values coincide.
    """
    matrix = weight.detach().double()
    matrix = matrix if matrix.is_meta else matrix.cpu()
    wide = matrix.shape[0] < matrix.shape[1]  # LAPACK takes thrice as long for these as for their transposes
    u, s, vt = torch.linalg.svd(matrix.T if wide else matrix, full_matrices=False)
    u, s, vt = (vt.T, s, u.T) if wide else (u, s, vt)
    u, s, vt = u[:, -rank:], s[-rank:], vt[-rank:]
    sign = vt.gather(1, vt.abs().argmax(1, keepdim=True)).sign()
    a, b = s.sqrt()[:, None] * sign * vt, u * sign.T * s.sqrt()
    return a.to(weight), b.to(weight)


class Pair(nn.Module):
    """A trained product B A beside one frozen matrix W, from the minor components of ``weight``.

    Args:
        weight: (out, in), what is decomposed.
        rank: of A (rank, in) and B (out, rank).
        in_place: whether B A stands in the place of what it was in W: W - B₀A₀ + B A. W itself stays as it is
            and the initial pair is subtracted from what the trained one yields, which is the same sum, and
            exactly zero at the start. Otherwise B A comes on top of W.
    """

    start_a: Tensor | None
    start_b: Tensor | None

    def __init__(self, weight: Tensor, rank: int, in_place: bool) -> None:
        super().__init__()
        a, b = minor_components(weight, rank)
        self.a, self.b = nn.Parameter(a), nn.Parameter(b)
        self.register_buffer("start_a", a.clone() if in_place else None)
        self.register_buffer("start_b", b.clone() if in_place else None)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what is to be added to W x, (..., out), for inputs x (..., in)."""
        change = F.linear(F.linear(inputs, self.a), self.b)
        if self.start_a is None or self.start_b is None:
            return change
        return change - F.linear(F.linear(inputs, self.start_a), self.start_b)


class MinorComponents(Method):
    """Pairs on query, key, value, output projection and feed-forward matrices of the blocks from L // 3 on.

    That is 8 of a ViT-L's 24 blocks frozen, as the paper has it; the same share of other depths is ours. A fused
    qkv matrix counts as three, each with its own pair. The biases of these layers train, too (EVA02's fused
    query and value biases included); all else is frozen, in eval mode. Weight decay falls along a cosine over
    the method's iterations.

    peft cannot carry it: PiSSA takes the largest components, MiCA freezes B and starts from A = 0, and neither
    splits a fused matrix.
    """

    Settings = MinorComponentSettings

    def pair(self, weight: Tensor, rng: torch.Generator) -> Pair:
        """Return the pair beside a pre-trained ``weight`` (out, in)."""
        return Pair(weight, self.settings.rank, in_place=True)

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze the backbone; add pairs and the hooks that add their outputs; let the layers' biases train.

        Raises:
            UserError: a rank beyond a matrix's; blocks whose layers we do not know.
        """
        shares = _shares(backbone)
        weights = {name: [backbone.get_parameter(f"{name}.weight")[rows] for rows in shares[name]] for name in shares}
        self._refuse_rank(weights)
        self.begin(backbone)
        pairs = nn.ModuleDict()
        for name, parts in weights.items():
            beside = nn.ModuleList(self.pair(weight, rng) for weight in parts)
            pairs[name.removeprefix("vit.blocks.").replace(".", "_")] = beside
            self.hook(backbone.get_submodule(name).register_forward_hook(partial(_add, beside)))
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
                    f"{name}; lower rank"
                )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return all pairs and the biases."""
        params = [*self._added[NAME].parameters(), *self._biases]
        return [{"params": params, "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]

    def optimizer(self, betas: tuple[float, float], eps: float) -> torch.optim.Optimizer | None:
        """Return AdamW, whose weight decay each step sets anew."""
        self._optimizer = super().optimizer(betas, eps)
        return self._optimizer

    def before_step(self, step: int, steps: int) -> None:
        """Set the iteration's weight decay, from ``weight_decay`` along half a cosine to ``weight_decay_end``."""
        start, end = self.settings.weight_decay, self.settings.weight_decay_end
        decay = end + (start - end) * (1 + math.cos(math.pi * step / steps)) / 2
        for group in self._optimizer.param_groups if self._optimizer else []:
            group["weight_decay"] = decay

    def detach(self) -> None:
        """Remove pairs and hooks."""
        for block in self._redirected:
            block.attn.qkv_bias_separate = False
        super().detach()


def _shares(backbone: Backbone) -> dict[str, list[slice]]:
    """Return, for each layer that gets pairs, the rows of its weight that are matrices of their own."""
    first = backbone.depth // 3
    shares: dict[str, list[slice]] = {}
    for candidate in candidates(backbone):
        if candidate.block >= first:
            shares.setdefault(candidate.name.removesuffix(".weight"), []).append(candidate.rows)
    return shares | {f"vit.blocks.{index}.attn.proj": [slice(None)] for index in range(first, backbone.depth)}


def _biases(backbone: Backbone, layers: list[str]) -> list[nn.Parameter]:
    """Return the layers' biases, those that timm keeps beside a fused projection included."""
    names = {f"{layer}.bias" for layer in layers}
    for layer in layers:
        attention, _, projection = layer.rpartition(".")
        if projection == "qkv":
            names |= {f"{attention}.q_bias", f"{attention}.v_bias"}
    return [parameter for name, parameter in backbone.named_parameters() if name in names]


def _add(pairs: nn.ModuleList, layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    return output + torch.cat([pair(args[0]) for pair in pairs], dim=-1)
