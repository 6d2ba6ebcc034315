"""SSF: a trained scale and shift after every operation of a frozen backbone."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from baselines._layers import call_projection
from benchmark.method import Method, Settings, UserError, setting
from benchmark.models.backbone import Backbone

OPERATIONS = (nn.Linear, nn.Conv2d, nn.LayerNorm)


class SSFSettings(Settings):
    """No paper reports SSF for DGSS; the initial values are those of the released code, which classifies images."""

    std: float = setting(0.02, "paper", "of the initial scales around 1 and shifts around 0 (released code)", ge=0)
    lr: float = setting(1e-3, "ours", "unpublished for DGSS; released code for CIFAR-100", gt=0, le=1)
    weight_decay: float = setting(
        0.0, "paper", "none for parameters with one dimension (released code); it would pull scales to 0", ge=0, lt=1
    )


class ScaleShift(nn.Module):
    """Maps the output y of an operation to γ ⊙ y + β, with γ ~ N(1, std²) and β ~ N(0, std²) drawn from ``rng``.

    Both can be merged into the weights of the operation: γ ⊙ (W x + b) + β = (γ ⊙ W) x + (γ ⊙ b + β).

    Args:
        channels: number of outputs of the operation.
        std: see above.
        rng: generator for the initial values.
    """

    def __init__(self, channels: int, std: float, rng: torch.Generator) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(channels).normal_(1, std, generator=rng))
        self.shift = nn.Parameter(torch.empty(channels).normal_(0, std, generator=rng))

    def forward(self, output: Tensor, late: Tensor | None = None) -> Tensor:
        """Return γ ⊙ y + β for y (..., channels), in the precision of y.

        Args:
            output: y.
            late: (channels,), a bias that is added to the result; it is scaled too: γ ⊙ (y + late) + β - late.
        """
        shift = self.shift if late is None else self.shift + (self.scale - 1) * late
        return (output * self.scale + shift).to(output.dtype)


class SSF(Method):
    """Scale and shift per channel after every linear layer, convolution and LayerNorm. The backbone is frozen.

    In a block of a plain ViT, these are norm1, qkv, the output projection of the attention, norm2 and both feed-forward
    layers, with 11 D channels. Patch embedding and last norm add D each: 2 (24 · 11 D + 2 D) = 544,768 parameters on a
    ViT-L. The last norm's 2 D get no gradient, since block outputs are read before it. Separate projections, gates and
    inner norms (EVA02) and a norm before the blocks (CLIP) count as operations, LayerScale and position embeddings do
    not. SAM has no last norm without its neck.

    The paper does not state initial values. Those of the released code are random: training does not start at the
    pre-trained model, but near it. With ``std`` 0 it starts there.
    """

    label = "SSF"
    source = "Lian et al., Scaling & Shifting Your Features (SSF), NeurIPS 2022; its released code"
    Settings = SSFSettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze the backbone; add scales and shifts, and a hook on each operation."""
        self.begin(backbone)
        added = nn.ModuleDict()
        self._parts: dict[str, ScaleShift] = {}
        for name, operation in list(backbone.named_modules()):
            if isinstance(operation, OPERATIONS):
                part = self._parts[name] = ScaleShift(len(operation.weight), self.settings.std, rng)
                added[name.removeprefix("vit.").replace(".", "_")] = part
                parent = backbone.get_submodule(name.rpartition(".")[0])
                self.hook(operation.register_forward_hook(partial(_scale, part, parent)))
        self.add("ssf", added)
        self._redirected: list[Any] = [block for block in backbone.blocks if call_projection(block)]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group of all scales and shifts."""
        params = list(self._added["ssf"].parameters())
        return [{"params": params, "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]

    def merged(self) -> dict[str, Tensor]:
        """Return the backbone's weights with γ ⊙ W and γ ⊙ b + β in place of each operation's W and b.

        Raises:
            UserError: an operation has no bias that could take its shift (keys in EVA02, all three in DINOv3).
        """
        state = self.plain_state()
        for name, part in self._parts.items():
            place = name.removeprefix("vit.")
            weight, bias = f"{place}.weight", f"{place}.bias"
            if bias not in state:
                raise UserError(
                    f"SSF cannot be merged into the weights of {self.backbone.name}: {place} has no bias"
                    f"{' for keys' * (place.removesuffix('qkv') + 'q_bias' in state)} that could take its shift"
                )
            scale, shift = part.scale.detach().double(), part.shift.detach().double()
            rows = scale.view(-1, *(1 for _ in state[weight].shape[1:]))
            state[weight] = (rows * state[weight].double()).to(state[weight].dtype)
            state[bias] = (scale * state[bias].double() + shift).to(state[bias].dtype)
        return state

    def detach(self) -> None:
        """Remove scales, shifts and hooks."""
        for block in self._redirected:
            block.attn.qkv_bias_separate = False
        super().detach()


def _scale(part: ScaleShift, parent: nn.Module, operation: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    if isinstance(operation, nn.Conv2d):  # its channels come second
        return part(output.movedim(1, -1)).movedim(-1, 1)
    return part(output, _late_bias(parent, operation))


def _late_bias(parent: Any, operation: nn.Module) -> Tensor | None:
    """Return the bias that timm's EVA adds after calling its fused projection (EVA02-S), or None."""
    if operation is not getattr(parent, "qkv", None) or getattr(parent, "q_bias", None) is None:
        return None
    return torch.cat((parent.q_bias, parent.k_bias, parent.v_bias))


METHOD = SSF
