"""Training batches: crops, colour distortion and targets. A batch depends on (recipe, step) alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmark.common.rng import numpy_rng, torch_rng
from benchmark.pretrain.frames import SKY, FrameStore
from benchmark.pretrain.recipe import Recipe

CROP = 128
PATCH = 16
STRIDE = 4  # of the targets
NOTHING = 255


@dataclass(frozen=True)
class Batch:
    """Input and targets of one step; h, w are H / 4, W / 4.

    Attributes:
        images: (B, 3, H, W) float, RGB in 0..255, with distorted colours.
        material: (B, h, w) int64, 255 where unknown or outside the frame.
        depth: (B, h, w) float, log2 of metres scaled to -1..1; NaN in the sky and outside.
        normal: (B, 3, h, w) float unit vectors, zero where unknown.
        edge: (B, h, w) float, 1 if the right or lower neighbour belongs to another instance; NaN outside.
        extent: (B, 4, h, w) float, see :func:`extents`; NaN outside instances.
    """

    images: Tensor
    material: Tensor
    depth: Tensor
    normal: Tensor
    edge: Tensor
    extent: Tensor


@dataclass(frozen=True)
class Crop:
    """Geometry of a crop: source pixel = (output pixel + 0.5) / zoom + offset - 0.5, columns mirrored if flipped."""

    zoom: float
    top: float
    left: float
    flip: bool

    def sources(self, length: int, offset: float) -> NDArray[np.int64]:
        """Return the source pixel under the centre of each of the ``length`` / 4 target cells."""
        centres = (np.arange(length // STRIDE) + 0.5) * STRIDE
        return np.floor(centres / self.zoom + offset).astype(np.int64)


def make_batch(store: FrameStore, recipe: Recipe, step: int) -> Batch:
    """Return the batch of ``step``: square crops in even steps, half as many whole street views in odd steps."""
    wide = step % 2 == 1
    count, width = (recipe.batch // 2, 2 * CROP) if wide else (recipe.batch, CROP)
    rng = numpy_rng(recipe.seed, "pretrain", "crops", step)
    images = np.zeros((count, CROP, width, 3), np.uint8)
    maps: list[dict[str, NDArray[np.generic]]] = []
    for row in range(count):
        record = store[int(rng.integers(len(store)))]
        image = record["image"][int(rng.integers(store.styles))]
        crop = draw_crop(image.shape[:2], width, recipe.zoom, rng)
        images[row] = blurred(cut_image(image, crop, width), rng)
        maps.append(cut_maps(record, crop, width))
    generator = torch_rng(recipe.seed, "pretrain", "colours", step)
    return targets(distort(torch.from_numpy(images).permute(0, 3, 1, 2).float(), generator), maps)


def draw_crop(size: tuple[int, ...], width: int, zoom: tuple[float, float], rng: np.random.Generator) -> Crop:
    """Draw a (CROP, ``width``) crop of a frame. With zoom < 1 its lower rows are outside the frame.

    Whole views are never zoomed out, since they would also extend beyond the side of the frame.
    """
    low = zoom[0] if width == CROP else max(1.0, zoom[0])
    factor = math.exp(rng.uniform(math.log(low), math.log(zoom[1])))
    free = [max(size[0] - CROP / factor, 0.0), max(size[1] - width / factor, 0.0)]
    return Crop(factor, free[0] * rng.random(), free[1] * rng.random(), bool(rng.random() < 0.5))


def cut_image(image: NDArray[np.uint8], crop: Crop, width: int) -> NDArray[np.uint8]:
    """Return the crop (CROP, width, 3) of ``image``, black outside the frame."""
    shift = 0.5 / crop.zoom - 0.5
    matrix = np.array([[1 / crop.zoom, 0, crop.left + shift], [0, 1 / crop.zoom, crop.top + shift]])
    cut = cv2.warpAffine(image, matrix, (width, CROP), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return np.asarray(cut[:, ::-1] if crop.flip else cut, np.uint8)


def blurred(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blur the image with probability 0.2."""
    sigma = float(rng.uniform(0.3, 1.5))
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8) if rng.random() < 0.2 else image


def cut_maps(record: NDArray[np.void], crop: Crop, width: int) -> dict[str, NDArray[np.generic]]:
    """Return the maps at the crop's target cells; in a flipped crop the x of normals is negated."""
    rows, columns = crop.sources(CROP, crop.top), crop.sources(width, crop.left)
    outside = (rows >= record["material"].shape[0])[:, None] | (columns >= record["material"].shape[1])[None]
    rows = np.minimum(rows, record["material"].shape[0] - 1)[:, None]
    columns = np.minimum(columns, record["material"].shape[1] - 1)[None]
    normal = record["normal"][rows // 2, columns // 2].astype(np.float32)
    normal[outside] = 0
    maps: dict[str, NDArray[np.generic]] = {
        "material": np.where(outside, NOTHING, record["material"][rows, columns]),
        "instance": record["instance"][rows, columns],
        "depth": np.where(outside, SKY, record["depth"][rows, columns]),
        "normal": normal,
        "outside": outside,
    }
    if crop.flip:
        normal[..., 0] *= -1
        maps = {name: values[:, ::-1] for name, values in maps.items()}
    return maps


def targets(images: Tensor, maps: list[dict[str, NDArray[np.generic]]]) -> Batch:
    """Convert the maps of the crops to targets of the objective."""

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([entry[name] for entry in maps]))

    depth, instance, outside = stacked("depth").float(), stacked("instance").long(), stacked("outside")
    right = F.pad(instance[:, :, 1:] != instance[:, :, :-1], (0, 1))
    below = F.pad(instance[:, 1:] != instance[:, :-1], (0, 0, 0, 1))
    return Batch(
        images=images,
        material=stacked("material").long(),
        depth=torch.where(depth == SKY, math.nan, depth * (2 / 254) - 1),
        normal=F.normalize(stacked("normal").permute(0, 3, 1, 2), dim=1),
        edge=torch.where(outside, math.nan, (right | below).float()),
        extent=extents(instance.masked_fill(outside, 0)),
    )


def extents(instance: Tensor) -> Tensor:
    """Return, for each cell of an instance, the relative position and the size of the instance's visible part.

    Args:
        instance: (B, h, w) int64 in 0..255; 0 = no instance.

    Returns:
        (B, 4, h, w): x and y offset from the cell to the centre of the bounding box, in patches; log2 of the box's
        width and height in cells, minus 2. NaN outside instances.
    """
    count, height, width = instance.shape
    index = (instance + 256 * torch.arange(count)[:, None, None]).flatten()
    found = torch.empty(4, *instance.shape)
    for axis, length in ((0, width), (1, height)):
        cells = torch.arange(length, dtype=torch.float32)
        place = (cells[None, None, :] if axis == 0 else cells[None, :, None]).expand_as(instance).flatten()
        empty = torch.zeros(256 * count)
        low = empty.scatter_reduce(0, index, place, "amin", include_self=False)[index]
        high = empty.scatter_reduce(0, index, place, "amax", include_self=False)[index]
        found[axis] = ((low + high) / 2 - place).view_as(instance) * (STRIDE / PATCH)
        found[2 + axis] = (high - low + 1).log2().view_as(instance) - 2
    found[:, instance == 0] = math.nan
    return found.transpose(0, 1)


def distort(images: Tensor, generator: torch.Generator) -> Tensor:
    """Distort the colours of each image: 3 x 3 colour matrix, contrast, haze, gamma and noise.

    Args:
        images: (B, 3, H, W) float in 0..255.
        generator: source of all random numbers.
    """
    count = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    def sometimes(probability: float, value: Tensor, otherwise: float) -> Tensor:
        return torch.where(torch.rand(count, generator=generator) < probability, value, torch.tensor(otherwise))

    grey = torch.full((3, 3), 1 / 3)
    saturation = sometimes(0.1, torch.zeros(count), 1.0) * uniform(0.3, 1.7)
    angle = sometimes(0.5, uniform(-0.6, 0.6), 0.0)
    matrix = saturation[:, None, None] * (turn(angle) - grey) + grey
    gains = (1 + 0.3 * (torch.rand(count, 3, generator=generator) * 2 - 1)) * uniform(0.7, 1.3)[:, None]
    haze, tint = sometimes(0.2, uniform(0.0, 0.6), 0.0), torch.rand(count, 3, generator=generator)
    matrix = matrix * (gains * (1 - haze[:, None]))[:, :, None]
    shift = haze[:, None] * tint + sometimes(0.5, uniform(-0.12, 0.12), 0.0)[:, None]
    flat = torch.baddbmm(shift[:, :, None], matrix, images.flatten(2) / 255).clamp(0, 1)
    gamma = uniform(-0.5, 0.5).exp()
    coloured = flat.pow(gamma[:, None, None]).view_as(images)
    noisy = torch.rand(count, generator=generator) < 0.3
    strength = uniform(0.0, 0.07)[noisy, None, None, None]
    noise = torch.randn(*coloured[noisy].shape, generator=generator)
    coloured[noisy] += strength * noise
    return coloured.clamp_(0, 1) * 255


def turn(angle: Tensor) -> Tensor:
    """Return (B, 3, 3) rotations of the colour space about the grey axis by ``angle`` (B,) in radians."""
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    return cos * torch.eye(3) + sin * cross + (1 - cos) / 3
