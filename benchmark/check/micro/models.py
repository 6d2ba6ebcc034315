"""Cases of backbones: ``model/NAME`` for every backbone of the catalogue, shrunk, and the fitting of weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor, nn

from benchmark.check.micro import tiny
from benchmark.check.micro.digest import Numbers, noise
from benchmark.check.micro.settled import Wide
from benchmark.models.backbone import Backbone, build_backbone, checkpoint_blocks
from benchmark.models.catalogue import Normalisation, fed_with, own_backbones
from benchmark.models.segmenter import Segmenter, inverse_frequency_weights
from benchmark.models.weights import Resample, fit, load_embedded


def cases() -> dict[str, Callable[[], Numbers]]:
    """Return a case of every backbone of the catalogue, and those of what they share."""
    backbones: dict[str, Callable[[], Numbers]] = {
        f"model/{name}": partial(_backbone, name) for name in own_backbones()
    }
    return {
        **backbones,
        "model/plain": _plain,
        "model/embedded weights": _embedded,
        "model/fitted weights": _fitted,
        "model/class weights": _class_weights,
        "model/losses": _losses,
    }


def _backbone(name: str) -> Numbers:
    numbers, spec = Numbers(), own_backbones()[name]
    numbers.put_tree("specification", [spec.timm, spec.out_indices, spec.weights, spec.options, str(spec.revision)])
    for how in get_args(Normalisation):
        fed = fed_with(spec, how)
        numbers.put_tree(f"normalisation {how}", [fed.mean, fed.std])
    _outputs(numbers, tiny.backbone(tiny.shrunk(name)))
    return numbers


def _outputs(numbers: Numbers, made: Backbone) -> None:
    numbers.put_tree("shape", [made.embed_dim, made.depth, made.patch_size, made.prefix_tokens, made.out_indices])
    numbers.put_tree("tensors", [f"{key} {tuple(value.shape)}" for key, value in made.vit.state_dict().items()])
    for size in ((32, 32), (37, 45)):
        images = torch.from_numpy(noise("images", 2, 3, *size))
        with torch.no_grad():
            for level, features in enumerate(made.eval()(images)):
                numbers.put(f"level {level} of {size[0]} x {size[1]}", features)
    with torch.no_grad(), Wide():
        torch.manual_seed(4)
        numbers.put_all("in train mode", made.train()(images))


def _plain() -> Numbers:
    """The backbone of the cases of methods; activation checkpointing with drop path; its random initial weights."""
    numbers, made = Numbers(), tiny.backbone()
    _outputs(numbers, made)
    checkpoint_blocks(made)
    with Wide():
        torch.manual_seed(4)
        features = made(torch.from_numpy(noise("images", 2, 3, 37, 45)))
        torch.stack([level.square().mean() for level in features]).sum().backward()
    numbers.put_all("checkpointed", features)
    numbers.put_all("checkpointed gradients", [p.grad for p in made.parameters() if p.grad is not None])
    drawn = build_backbone("vit-tiny-random", seed=3, size=64)
    numbers.put_tree("facts", drawn.facts())
    numbers.put_all("random weights", drawn.state_dict().values())
    return numbers


def _embedded() -> Numbers:
    numbers = Numbers()
    tensors, sha256 = load_embedded("vit-tiny-streets")
    numbers.put("SHA-256", sha256)
    numbers.put_all("weights", [tensors[name] for name in sorted(tensors) if tensors[name].numel() < 1 << 16])
    return numbers


class _Grid(nn.Module):
    """Names and shapes of a model with ``side`` x ``side`` patches of ``patch`` pixels."""

    def __init__(self, side: int, patch: int, *, map_of_positions: bool = False, no_embed_class: bool = False) -> None:
        super().__init__()
        self.num_prefix_tokens, self.no_embed_class = 2, no_embed_class
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, 8, patch)})
        length = side**2 + (0 if no_embed_class else 2)
        shape = (1, side, side, 8) if map_of_positions else (1, length, 8)
        self.pos_embed = nn.Parameter(torch.zeros(shape))


def _fitted() -> Numbers:
    """Patch kernels and position embeddings for another patch and image size."""
    numbers = Numbers()
    for how in get_args(Resample):
        for title, options in (
            ("prefix", {}), ("map", {"map_of_positions": True}), ("no prefix", {"no_embed_class": True})
        ):  # fmt: skip
            for old, new in ((4, 7), (6, 3)):
                published = _Grid(old, 14, **options)
                tiny.fill(published, "published")
                with torch.no_grad():
                    published.pos_embed.copy_(torch.from_numpy(noise("positions", *published.pos_embed.shape)))
                own: Any = _Grid(new, 16, **options)
                fitted: dict[str, Tensor] = fit(dict(published.state_dict()), own, how)
                for name in ("patch_embed.proj.weight", "pos_embed"):
                    numbers.put(f"{how} {title} {old} to {new} {name}", fitted[name])
    return numbers


def _class_weights() -> Numbers:
    numbers = Numbers()
    for name, pixels in (("usual", [900, 30, 5, 1]), ("absent", [900, 0, 5, 0]), ("equal", [7, 7, 7, 7])):
        numbers.put(name, inverse_frequency_weights(torch.tensor(pixels)))
    return numbers


def _losses() -> Numbers:
    """A segmenter's losses and logits for images that the backbone pads, with and without class weights."""
    numbers, segmenter = Numbers(), tiny.segmenter(tiny.SHORT).eval()
    images, labels = tiny.batch()
    for title in ("weighted", "unweighted"):
        with torch.no_grad(), Wide():
            numbers.put(f"{title} normaliser", segmenter.normaliser(labels))
            numbers.put_tree(f"{title} losses", segmenter.losses(images, labels))
            part = segmenter.losses(images[:1], labels[:1], torch.tensor([900.0]))
            numbers.put_tree(f"{title} losses of a part", part)
        segmenter = Segmenter(segmenter.backbone, segmenter.decoder)
    with torch.no_grad():
        numbers.put("logits", segmenter(images))
        numbers.put("decoded", segmenter.decode(segmenter.backbone(images / 255), images))
    return numbers
