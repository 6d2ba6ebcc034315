"""Candidate weights of sparse methods: query, key, value and feed-forward matrices of the blocks.

This is FisherTune's tunable set θ = {θ_Q, θ_K, θ_V, θ_FFN} (Eq. 3), 276,824,064 weights of a ViT-L. Biases, norms,
embeddings and the output projection of the attention are not in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from benchmark.common.errors import UserError
from benchmark.models.backbone import Backbone

Group = Literal["q", "k", "v", "ffn"]
GROUPS: tuple[Group, ...] = ("q", "k", "v", "ffn")


@dataclass(frozen=True)
class Candidate:
    """The rows of one weight matrix that belong to one group.

    A fused ``qkv`` matrix gives three candidates with the same ``name`` and ``parameter`` and adjacent rows.

    Attributes:
        name: the parameter's name within the backbone (``vit.blocks.0.attn.qkv.weight``).
        parameter: the whole matrix (out, in).
        group: ``q``, ``k``, ``v`` or ``ffn``.
        block: the block's index, from 0.
        rows: the group's rows of the matrix.
    """

    name: str
    parameter: nn.Parameter
    group: Group
    block: int
    rows: slice

    def numel(self) -> int:
        """Return the number of weights in these rows."""
        return self.share(self.parameter).numel()

    def share(self, tensor: Tensor) -> Tensor:
        """Return the rows of ``tensor`` (shaped like the whole matrix) that belong to this group, as a view."""
        return tensor[self.rows]


def candidates(backbone: Backbone, groups: tuple[Group, ...] = GROUPS) -> list[Candidate]:
    """Return the candidates of the given groups, in the order of the backbone's blocks.

    Raises:
        UserError: a block has no known query, key and value projections or no feed-forward layers.
    """
    known = {id(parameter): (name, parameter) for name, parameter in backbone.named_parameters()}
    found = []
    for index, block in enumerate(backbone.blocks):
        shares = [*_attention(block), *_feed_forward(block)]
        if {group for _, group, _ in shares} != set(GROUPS):
            raise UserError(
                f"backbone {backbone.name!r}: block {index} lacks attn.qkv (or q_proj, k_proj, v_proj) or "
                "mlp layers, which this method tunes; choose another backbone"
            )
        for layer, group, rows in shares:
            if group in groups:
                found.append(Candidate(*known[id(layer.weight)], group, index, rows))
    return found


def matrices(backbone: Backbone, groups: tuple[Group, ...] = GROUPS) -> dict[str, nn.Parameter]:
    """Return the matrices that contain candidates, each once, by their name within the backbone."""
    return {candidate.name: candidate.parameter for candidate in candidates(backbone, groups)}


def _attention(block: Any) -> Iterator[tuple[nn.Linear, Group, slice]]:
    attention: Any = getattr(block, "attn", None)
    fused = getattr(attention, "qkv", None)
    if isinstance(fused, nn.Linear):
        # The query width is attn.proj's input width; keys and values (fewer heads with GQA) share the rest.
        query = attention.proj.in_features
        key = (fused.out_features - query) // 2
        yield fused, "q", slice(0, query)
        yield fused, "k", slice(query, query + key)
        yield fused, "v", slice(query + key, fused.out_features)
        return
    separate: tuple[tuple[str, Group], ...] = (("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"))
    for name, group in separate:
        layer = getattr(attention, name, None)
        if isinstance(layer, nn.Linear):
            yield layer, group, slice(0, layer.out_features)


def _feed_forward(block: Any) -> Iterator[tuple[nn.Linear, Group, slice]]:
    # Every linear layer of `mlp`: timm has fc1/fc2, gated fc1_g/fc1_x/fc2 (EVA02) and packed gates.
    layers: nn.Module = getattr(block, "mlp", nn.Identity())
    for layer in layers.modules():
        if isinstance(layer, nn.Linear):
            yield layer, "ffn", slice(0, layer.out_features)
