"""Small backbones of all families, and a minimal training loop for sparse methods."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

from benchmark.common.rng import torch_rng
from benchmark.method import Budget, EstimationBatch, Method, SparseAdamW
from benchmark.models.backbone import Backbone
from benchmark.models.catalogue import BackboneSpec
from benchmark.models.decoder import Decoder
from benchmark.models.segmenter import Segmenter

CLASSES = 5
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("vit_tiny_patch16_224", {"embed_dim": 24, "num_heads": 2}),
    "layerscale": ("vit_small_patch14_reg4_dinov2.lvd142m", {"embed_dim": 24, "num_heads": 2, "patch_size": 16}),
    "swiglu": ("vit_giant_patch14_dinov2.lvd142m", {"embed_dim": 24, "num_heads": 2, "patch_size": 16}),
    "eva-fused": ("eva02_tiny_patch14_224.mim_in22k", {"embed_dim": 24, "num_heads": 2, "patch_size": 16}),
    "eva-separate": (
        "eva02_tiny_patch14_224.mim_in22k",
        {"embed_dim": 24, "num_heads": 2, "patch_size": 16, "qkv_fused": False},
    ),
    "sam": (
        "samvit_base_patch16.sa1b",
        {"embed_dim": 24, "num_heads": 2, "window_size": 3, "global_attn_indexes": (1,)},
    ),
}


class LinearDecoder(Decoder):
    """Logits at the patch grid, from the last block only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.classify = nn.Conv2d(width, CLASSES, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        logits: Tensor = self.classify(features[-1])
        return logits


def build(family: str = "plain", dtype: torch.dtype = torch.float32) -> Segmenter:
    name, options = FAMILIES[family]
    flexible = {} if family == "sam" else {"dynamic_img_size": True}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vit = timm.create_model(name, num_classes=0, depth=2, img_size=64, **options, **flexible)
        for parameter in vit.parameters():
            nn.init.normal_(parameter, std=0.2)
        segmenter = Segmenter(Backbone(vit, BackboneSpec(family, name, out_indices=(0, 1))), LinearDecoder(24))
    return segmenter.to(dtype).eval()


def images(step: int, size: int = 4, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(100 + step)
    # A flat colour and noise per image, so that image statistics differ, which the simulated domain needs.
    colours = torch.rand(size, 3, 1, 1, generator=generator)
    return (255 * (0.6 * colours + 0.4 * torch.rand(size, 3, 32, 48, generator=generator))).to(dtype)


def labels(step: int, size: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(200 + step)
    found = torch.randint(0, CLASSES, (size, 32, 48), generator=generator)
    found[:, :4] = 255
    return found


def estimation(segmenter: Segmenter, step: int, steps: int, seed: int = 0) -> EstimationBatch:
    def loss(x: Tensor, y: Tensor) -> Tensor:
        return segmenter.losses(x, y)["ce"]

    rng = torch_rng(seed, "estimation", step)
    return EstimationBatch(images(step), labels(step), segmenter, loss, rng, step, steps)


class Run:
    """A run of ``iterations`` iterations after a decoder warm-up that can be advanced step by step."""

    def __init__(self, method: Method, iterations: int, seed: int = 0, family: str = "plain") -> None:
        self.method, self.seed, self.step = method, seed, 0
        self.segmenter = build(family)
        method.attach(self.segmenter.backbone, torch_rng(seed, "method"))
        self.phases = method.phases(Budget(iterations, 1, 4))
        optimizer = method.optimizer((0.9, 0.999), 1e-8)
        assert isinstance(optimizer, SparseAdamW)
        self.optimizer = optimizer
        self.iterations = sum(phase.iterations for phase in self.phases)

    def advance(self, iterations: int) -> Run:
        for _ in range(iterations):
            first = 0
            for phase in self.phases:
                if self.step < first + phase.iterations:
                    break
                first += phase.iterations
            if phase.estimate:
                self.method.observe_batch(estimation(self.segmenter, self.step, phase.iterations, self.seed))
            else:
                if self.step == first and any(phase.estimate for phase in self.phases):
                    self.method.select()  # only now, so that tests can inspect the estimates before
                self.segmenter.losses(images(self.step), labels(self.step))["ce"].backward()
                self.method.before_step(self.step - first, phase.iterations)
                self.optimizer.step()
            self.segmenter.zero_grad()
            self.step += 1
        return self

    def finish(self) -> Run:
        return self.advance(self.iterations - self.step)

    def selected(self) -> dict[str, Tensor]:
        named = self.segmenter.backbone.named_parameters()
        return {name: self.optimizer.selected(parameter) for name, parameter in named}

    def weights(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.segmenter.backbone.named_parameters()}
