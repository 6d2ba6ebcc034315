"""LoRA on query, key and value projections, using peft."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from baselines._layers import call_projection
from benchmark.method import Method, Settings, matrices, setting
from benchmark.models.backbone import Backbone


class LoRASettings(Settings):
    """Rein and FisherTune report LoRA, but the code behind their results is unpublished."""

    rank: int = setting(8, "paper", "0.79 M parameters on a ViT-L (Rein, Table 3) imply rank 8 on fused qkv", ge=1)
    alpha: float = setting(8.0, "ours", "unpublished for DGSS; peft's default, so that alpha / rank = 1", gt=0)
    dropout: float = setting(0.0, "ours", "unpublished for DGSS; peft's default", ge=0, lt=1)
    lr: float = setting(1e-4, "ours", "unpublished for DGSS; same as Rein's adapter", gt=0, le=1)
    weight_decay: float = setting(
        0.05, "ours", "unpublished for DGSS; same as the matrices of Rein's adapter", ge=0, lt=1
    )


class LoRA(Method):
    """W + (alpha / rank) B A on the input projections of the attention; A is Kaiming-uniform, B is zero at the start.

    One adapter per block if timm fuses query, key and value (rank x 4D parameters), three otherwise (EVA02: rank x 6D).
    At the start, the model computes the same as the pre-trained one.
    """

    label = "LoRA"
    source = "Hu et al., LoRA, ICLR 2022"
    Settings = LoRASettings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Freeze the backbone and wrap its projections with peft.

        Raises:
            UserError: the backbone has no known projections.
        """
        from peft import LoraConfig, inject_adapter_in_model  # imported here, since it takes seconds

        self.begin(backbone)
        targets = [name.removesuffix(".weight") for name in matrices(backbone, ("q", "k", "v"))]
        config = LoraConfig(
            r=self.settings.rank,
            lora_alpha=self.settings.alpha,
            target_modules=targets,
            **self.options(),
        )
        with torch.random.fork_rng(devices=[]):
            inject_adapter_in_model(config, backbone)
        self._layers: dict[str, Any] = {name: backbone.get_submodule(name) for name in targets}
        self._redirected: list[Any] = [block for block in backbone.blocks if call_projection(block)]
        for layer in self._layers.values():
            _draw(layer, rng)

    def options(self) -> dict[str, Any]:
        """Return further arguments of peft's configuration."""
        return {"lora_dropout": self.settings.dropout}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return one group of all A and B."""
        parts = [part for layer in self._layers.values() for part in (layer.lora_A, layer.lora_B)]
        params = [parameter for part in parts for parameter in part.parameters()]
        return [{"params": params, "lr": self.settings.lr, "weight_decay": self.settings.weight_decay}]

    def train_mode(self) -> None:
        """Set train mode, with LoRA's dropout on and the backbone's off."""
        super().train_mode()
        for layer in self._layers.values():
            layer.lora_dropout.train()

    def merged(self) -> dict[str, Tensor]:
        """Return the backbone's weights with W + (alpha / rank) B A in place of each W."""
        state = {name: value for name, value in self.plain_state().items() if ".lora_" not in name}
        state = {name.replace(".base_layer.", "."): value for name, value in state.items()}
        for name, layer in self._layers.items():
            state[f"{name.removeprefix('vit.')}.weight"] = self.projection(layer).to(layer.weight.dtype)
        return state

    def projection(self, layer: Any) -> Tensor:
        """Return the weight (out, in) that one of peft's layers is equivalent to, in float64."""
        a, b = (part["default"].weight.detach().double() for part in (layer.lora_A, layer.lora_B))
        return layer.weight.detach().double() + self.settings.alpha / self.settings.rank * (b @ a)

    def detach(self) -> None:
        """Restore the original projections and discard the LoRA weights."""
        for name, layer in self._layers.items():
            self.backbone.set_submodule(name, layer.base_layer)
        for block in self._redirected:
            block.attn.qkv_bias_separate = False
        del self.backbone.peft_config
        super().detach()


def _draw(layer: Any, rng: torch.Generator) -> None:
    """Draw A again from ``rng``, with peft's distribution: uniform in ±1/√in (Kaiming, a = √5)."""
    weight = layer.lora_A["default"].weight
    bound = weight.shape[1] ** -0.5
    with torch.no_grad():
        weight.copy_(torch.empty(weight.shape).uniform_(-bound, bound, generator=rng))


METHOD = LoRA
