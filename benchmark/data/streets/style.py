"""How a street looks: colours of things, light, weather, lens. Integers from the first pixel to the last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from . import materials as m
from .dice import Dice, circle
from .palette import Colours, palettes
from .raster import Surfaces
from .texture import Pattern

Range = tuple[float, float]
Rgb = tuple[int, int, int]
Image = NDArray[np.int32]  # (3, H, W), 0..255 but free to leave it on the way


@dataclass(frozen=True)
class Look:
    """A distribution over appearances. Ranges are uniform."""

    colours: Colours = field(default_factory=Colours)
    sun: Range = (0.5, 0.9)  # direct light
    ambient: Range = (0.55, 0.7)
    elevation: Range = (0.25, 0.6)  # half-angle tangent of the sun's height
    warm: Range = (0.0, 0.1)  # sunlight's yellowness
    sky: tuple[tuple[Rgb, Rgb], ...] = (((70, 130, 215), (190, 215, 240)),)  # zenith, horizon
    clouds: Range = (0.0, 0.5)
    haze: Range = (250.0, 600.0)  # metres at which half the light is lost
    lamps: float = 0.0  # chance that lamps and windows are lit
    night: Range = (0.0, 0.0)  # darkness of sky and ambient light
    wet: Range = (0.0, 0.0)
    snow: Range = (0.0, 0.0)
    streaks: float = 0.0  # chance of rain streaks
    flakes: float = 0.0
    drops: float = 0.0  # chance of drops on the lens
    exposure: Range = (0.95, 1.1)
    saturation: Range = (0.9, 1.1)
    contrast: Range = (0.95, 1.1)
    cast: tuple[Rgb, ...] = ((256, 256, 256),)  # gain per channel, 256 = 1
    cast_spread: int = 6
    lift: Range = (0.0, 4.0)  # added to black
    vignette: Range = (0.0, 0.05)
    noise: Range = (1.0, 3.0)
    blur: Mapping[int, float] = field(default_factory=lambda: {0: 1.0})  # passes of a small blur
    chroma: float = 0.0  # chance of colour at half resolution, as JPEG keeps it
    mix: float = 0.0  # strength of a random mixture of the colour channels


@dataclass(frozen=True)
class Sample:
    """One appearance drawn from a Look."""

    look: Look
    sun: float
    ambient: float
    direction: tuple[float, float, float]  # towards the sun, world axes
    warm: float
    zenith: Rgb
    horizon: Rgb
    night: float
    lit: bool
    wet: float
    snow: float

    @staticmethod
    def draw(dice: Dice, look: Look) -> Sample:
        """Draw light and weather."""
        c, s = circle(dice.uniform(*look.elevation))
        a, b = circle(dice.uniform(-1.0, 1.0) if dice.chance(0.6) else dice.uniform(-3.0, 3.0))
        zenith, horizon = dice.pick(look.sky)
        # The sun stands mostly behind the viewer or to the side: a is the cosine of its bearing from there.
        return Sample(look, dice.uniform(*look.sun), dice.uniform(*look.ambient), (c * b, s, -c * a), dice.uniform(*look.warm),
                      zenith, horizon, dice.uniform(*look.night), dice.chance(look.lamps), dice.uniform(*look.wet),
                      dice.uniform(*look.snow))  # fmt: skip


def shade(surfaces: Surfaces, pattern: Pattern, dice: Dice, look: Look) -> NDArray[np.uint8]:
    """Return the picture (H, W, 3) RGB of these surfaces under one appearance."""
    sample = Sample.draw(dice, look)
    table = palettes(surfaces.placed, look.colours, dice)
    image, glow = _surfaces(surfaces, pattern, sample, table)
    depth = _depth(surfaces)
    if sample.snow > 0:
        _snow(image, surfaces, pattern, sample)
    _haze(image, depth, sample, dice)
    _sky(image, surfaces, sample, dice)
    if sample.wet > 0:
        _reflect(image, surfaces, sample)
    if sample.lit or sample.night > 0:
        _bloom(image, glow)
    _weather(image, look, dice)
    return _lens(image, look, dice)


def _fixed(value: float) -> int:
    return int(value * 256.0 + 0.5)


def _depth(surfaces: Surfaces) -> NDArray[np.int32]:
    """Return whole decimetres, the sky at 9000."""
    inverse = np.maximum(surfaces.inverse_depth, np.float32(1.0 / 900.0))
    return np.floor(np.float32(10.0) / inverse).astype(np.int32)


def _surfaces(surfaces: Surfaces, pattern: Pattern, sample: Sample, table: NDArray[np.int32]) -> tuple[Image, Image]:
    """Return lit surfaces and what shines by itself."""
    polygons = surfaces.polygons
    seen = surfaces.seen
    count = len(polygons.owner)
    both = np.concatenate([table[polygons.owner, polygons.table["slot"]], table[polygons.owner, polygons.table["slot2"]]]).T
    colour = np.take(np.ascontiguousarray(both), seen + count * pattern.second, axis=1)
    lights = _emitters(surfaces, pattern, sample, colour, seen)
    ambient, sun = _light(polygons.normal, surfaces, sample)
    cover, contact = _shadows(surfaces, sample, seen)
    shadowless = (ambient[seen] * contact >> 8) * pattern.tone >> 8
    direct = (sun[seen] * cover >> 8) * pattern.tone >> 8
    if sample.night > 0:
        near = _headlights(surfaces, sample)
        shadowless, direct = shadowless * near >> 8, direct * near >> 8
    cold, warm = (248, 256, 266), (256 + _fixed(0.5 * sample.warm), 256, 256 - _fixed(1.5 * sample.warm))
    image = np.empty_like(colour)
    for k in range(3):
        np.multiply(colour[k], (shadowless * cold[k] + direct * warm[k]) >> 8, out=image[k])
    image >>= 8
    np.maximum(image, lights, out=image)
    return image, lights


def _emitters(surfaces: Surfaces, pattern: Pattern, sample: Sample, colour: Image, seen: NDArray[np.intp]) -> Image:
    """Return the light of lamps, and of some windows after dark."""
    polygons = surfaces.polygons
    shines = polygons.material == m.LIGHT
    if not sample.lit:
        shines &= (polygons.label == m.TRAFFIC_LIGHT) | (polygons.table["slot"] == m.AMBER)
    lights = colour * shines[seen]
    if sample.lit and sample.night > 0:
        glass = (polygons.texture == m.WINDOWS) | (polygons.texture == m.SHOPS)
        windows = pattern.second & glass[seen] & (pattern.cell < 88)
        level = np.where(windows, 150 + pattern.cell.astype(np.int32), 0)
        for k, warm in enumerate((236, 190, 112)):
            np.maximum(lights[k], level * warm >> 8, out=lights[k])
    return lights


def _light(normal: NDArray[np.float32], surfaces: Surfaces, sample: Sample) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return ambient and direct light of every polygon, in 1/256."""
    right, down, forward = surfaces.camera.axes()
    d = sample.direction
    sun = [axis[0] * d[0] + axis[1] * d[1] + axis[2] * d[2] for axis in (right, down, forward)]
    up = (right[1], down[1], forward[1])
    n = normal.astype(np.float64)
    towards = np.maximum(n[0] * sun[0] + n[1] * sun[1] + n[2] * sun[2], 0.0)
    upward = n[0] * up[0] + n[1] * up[1] + n[2] * up[2]
    dim = 1.0 - sample.night
    ambient = sample.ambient * (0.86 + 0.14 * upward) * (dim * dim * 0.75 + 0.25 * dim + 0.07 * sample.night)
    direct = sample.sun * towards * dim * dim
    return np.floor(ambient * 256.0 + 0.5).astype(np.int32), np.floor(direct * 256.0 + 0.5).astype(np.int32)


def _shadows(surfaces: Surfaces, sample: Sample, at: NDArray[np.intp]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return (H, W) how much sun, and how much ambient light, reaches the ground; 256 elsewhere."""
    shape = surfaces.seen.shape
    casters = [p for p in surfaces.placed if p.shadow is not None]
    cast, under = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    d = sample.direction
    reach = min(1.0 / max(d[1], 0.2), 2.5)
    if casters:
        box = np.array([p.shadow for p in casters])
        pose = np.array([(p.x, p.z, *p.heading) for p in casters])
        corners = np.zeros((3, len(casters), 8))
        for k, (a, b) in enumerate(((-1, -1), (1, -1), (1, 1), (-1, 1))):
            x, z = a * box[:, 0], b * box[:, 1]
            corners[0, :, k] = pose[:, 0] + pose[:, 2] * x + pose[:, 3] * z
            corners[2, :, k] = pose[:, 1] + pose[:, 2] * z - pose[:, 3] * x
            corners[0, :, k + 4] = corners[0, :, k] - d[0] * reach * box[:, 2]
            corners[2, :, k + 4] = corners[2, :, k] - d[2] * reach * box[:, 2]
        seen = surfaces.camera.to_camera(corners)
        depth = seen[2]
        safe = np.maximum(depth, 0.5)
        focal = surfaces.camera.focal * shape[1]
        points = np.empty((*depth.shape, 2), np.int32)
        points[..., 0] = np.clip(np.floor(seen[0] / safe * focal + 0.5 * shape[1]), -4000, 4000)
        points[..., 1] = np.clip(np.floor(seen[1] / safe * focal + surfaces.camera.centre * shape[0]), -4000, 4000)
        standing = np.array([p.kind != "building" for p in casters])
        for k in np.flatnonzero(standing & (depth[:, :4].min(1) > 0.5)).tolist():
            cv2.fillConvexPoly(under, points[k, :4], 255)
        if sample.sun * (1.0 - sample.night) > 0.15:
            for k in np.flatnonzero(depth.max(1) > 0.8).tolist():
                cv2.fillConvexPoly(cast, cv2.convexHull(points[k])[:, 0], 255)
    ground = np.array([p.kind == "ground" for p in surfaces.placed] + [False])[surfaces.polygons.owner][at]
    cover = 256 - blur(blur(cast.astype(np.int32))) * ground
    contact = 256 - (blur(blur(blur(under.astype(np.int32)))) * 150 >> 8) * ground
    return cover, contact


def _headlights(surfaces: Surfaces, sample: Sample) -> NDArray[np.int32]:
    """Return how the ego vehicle's lamps and the street lighting brighten what is near, 256 = not at all."""
    depth = np.float32(1.0) / np.maximum(surfaces.inverse_depth, np.float32(1.0 / 200.0))
    gain = np.float32(sample.night * 2.2 * 14.0 * 14.0) / (np.float32(14.0 * 14.0) + depth * depth)
    return np.floor((np.float32(1.0) + gain) * np.float32(256.0)).astype(np.int32)


def _haze(image: Image, depth: NDArray[np.int32], sample: Sample, dice: Dice) -> None:
    """Blend far surfaces into the horizon's colour."""
    half = 10.0 * dice.uniform(*sample.look.haze)
    steps = np.arange(9001, dtype=np.float64)
    share = steps * steps / (steps * steps + half * half) * 0.6 + steps / (steps + half) * 0.4
    alpha = np.take(np.floor(share * 256.0).astype(np.int32), depth, mode="clip")
    for k, horizon in enumerate(_sky_colours(sample)[1]):
        _blend(image[k], horizon, alpha)


def _blend(channel: NDArray[np.int32], other: NDArray[np.int32] | int, alpha: NDArray[np.int32] | int) -> None:
    """Move a channel towards another by alpha / 256, in place."""
    step = other - channel
    step *= alpha
    step >>= 8
    channel += step


def _sky_colours(sample: Sample) -> tuple[list[int], list[int]]:
    dim = 1.0 - 0.88 * sample.night
    tint = (0.9, 0.95, 1.15) if sample.night > 0 else (1.0, 1.0, 1.0)
    return ([int(v * dim * t) for v, t in zip(sample.zenith, tint, strict=True)],
            [int(v * dim * t) for v, t in zip(sample.horizon, tint, strict=True)])  # fmt: skip


def _sky(image: Image, surfaces: Surfaces, sample: Sample, dice: Dice) -> None:
    """Paint gradient and clouds where nothing stands."""
    height, width = surfaces.seen.shape
    camera = surfaces.camera
    amount = _fixed(dice.uniform(*sample.look.clouds))
    coarse, fine = dice.bytes(7, 9), dice.bytes(19, 27)
    free = surfaces.seen == 0
    used = int(np.flatnonzero(free.any(axis=1))[-1]) + 1 if free.any() else 0
    if not used:
        return
    level = camera.centre * height - camera.pitch * 2.0 * camera.focal * width
    rows = np.clip(np.floor((level - np.arange(used)) * (256.0 / (0.55 * height))), 0, 256).astype(np.int32)
    cloud = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)[:used].astype(np.int32)
    cloud = (cloud * 3 + cv2.resize(fine, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)[:used]) >> 2
    cover = np.clip((cloud - 120) * 4, 0, 255) * amount >> 8
    for k, (top, low) in enumerate(zip(*_sky_colours(sample), strict=True)):
        bright = low + (255 - low) * 3 // 4 if sample.night == 0 else low + 12
        sky = np.broadcast_to((low + ((top - low) * rows >> 8))[:, None], cover.shape).copy()
        _blend(sky, bright, cover)
        np.copyto(image[k, :used], sky, where=free[:used])


def _snow(image: Image, surfaces: Surfaces, pattern: Pattern, sample: Sample) -> None:
    """Whiten what faces upwards, in patches."""
    right, down, forward = surfaces.camera.axes()
    polygons = surfaces.polygons
    n = polygons.normal
    up = n[0] * np.float32(right[1]) + n[1] * np.float32(down[1]) + n[2] * np.float32(forward[1])
    holds = np.where(up > 0.6, 1.0, np.where(polygons.material == m.FOLIAGE, 0.5, 0.0))
    holds = np.where(polygons.label == m.ROAD, 0.6, np.where(polygons.label == m.EGO, 0.15, holds))
    amount = np.floor(holds * sample.snow * 512.0).astype(np.int32)
    alpha = amount[surfaces.seen] - 120 + (pattern.tone >> 1) - 128 + _patches(surfaces)
    alpha = np.clip(alpha, 0, 235) * (amount > 0)[surfaces.seen]
    level = _fixed(min(1.0, sample.ambient + 0.25)) * (256 - _fixed(0.8 * sample.night)) >> 8
    for k, white in enumerate((226, 231, 238)):
        _blend(image[k], white * level >> 8, alpha)


def _patches(surfaces: Surfaces) -> NDArray[np.int32]:
    """Return soft patches, -64..63, fixed to the surface."""
    from .texture import hashed

    i = np.floor(surfaces.s * np.float32(0.8)).astype(np.int32)
    j = np.floor(surfaces.t * np.float32(0.4)).astype(np.int32)
    return blur(blur((hashed(i, j, 7).astype(np.int32) >> 1) - 64))


def _reflect(image: Image, surfaces: Surfaces, sample: Sample) -> None:
    """Mirror the scene in a wet road."""
    height, width = surfaces.seen.shape
    camera = surfaces.camera
    level = max(int(camera.centre * height - camera.pitch * 2.0 * camera.focal * width), 0)
    if level >= height:
        return
    rows = np.arange(level, height)
    mirror = image[:, np.clip(2 * level - rows, 0, height - 1)]
    mirror = (mirror + image[:, np.clip(2 * level - rows - 3, 0, height - 1)]) >> 1
    labels = surfaces.polygons.label
    alpha = (((labels == m.ROAD) | (labels == m.SIDEWALK)) * _fixed(sample.wet * 0.62))[surfaces.seen[level:]]
    for k in range(3):
        _blend(image[k, level:], mirror[k] * 230 >> 8, alpha)


def _bloom(image: Image, glow: Image) -> None:
    """Let what shines spread."""
    height, width = glow.shape[1:]
    small = glow[:, : height // 4 * 4, : width // 4 * 4]
    spread = small[:, :, 0::4] + small[:, :, 1::4] + small[:, :, 2::4] + small[:, :, 3::4]
    spread = spread[:, 0::4] + spread[:, 1::4] + spread[:, 2::4] + spread[:, 3::4]
    wide = blur(blur(np.minimum(spread >> 2, 255)))
    wider = blur(blur(blur(wide)))
    total = np.minimum(wide + (wider >> 1), 255).astype(np.uint8)
    for k in range(3):
        image[k] += cv2.resize(total[k], (width, height), interpolation=cv2.INTER_LINEAR_EXACT)


def blur(image: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the 1-2-1 blur of (H, W) or (3, H, W), the edge repeated."""
    across = image * 2
    across[..., 1:] += image[..., :-1]
    across[..., :1] += image[..., :1]
    across[..., :-1] += image[..., 1:]
    across[..., -1:] += image[..., -1:]
    down = across * 2
    down[..., 1:, :] += across[..., :-1, :]
    down[..., :1, :] += across[..., :1, :]
    down[..., :-1, :] += across[..., 1:, :]
    down[..., -1:, :] += across[..., -1:, :]
    down >>= 4
    return down


def _weather(image: Image, look: Look, dice: Dice) -> None:
    """Add rain streaks, snowflakes or drops on the lens."""
    height, width = image.shape[1:]
    if dice.chance(look.streaks):
        for _ in range(30 + dice.below(60)):
            x, y, long = dice.below(width), dice.below(height), 4 + dice.below(9)
            _blend(image[:, y : y + long, x], 210, 40 + dice.below(40))
    if dice.chance(look.flakes):
        for _ in range(40 + dice.below(110)):
            x, y, side = dice.below(width), dice.below(height), 1 + (dice.below(4) == 0)
            _blend(image[:, y : y + side, x : x + side], 243, 120 + dice.below(90))
    if dice.chance(look.drops):
        for _ in range(3 + dice.below(6)):
            x, y, side = dice.below(width - 8), dice.below(height - 8), 4 + dice.below(6)
            part = image[:, y : y + side, x : x + side]
            _blend(part, blur(blur(part[:, ::-1])) + 8, 170)


def _grey(image: Image) -> NDArray[np.int32]:
    """Return the luma (Rec. 601)."""
    return (image[0] * 77 + image[1] * 150 + image[2] * 29) >> 8


def _lens(image: Image, look: Look, dice: Dice) -> NDArray[np.uint8]:
    """Apply blur, exposure, colour, vignetting, noise and contrast; return (H, W, 3)."""
    height, width = image.shape[1:]
    for _ in range(dice.weighted(tuple(look.blur.items()))):
        image = blur(image)
    exposure, cast = _fixed(dice.uniform(*look.exposure)), dice.pick(look.cast)
    for k in range(3):
        image[k] *= exposure * (cast[k] + dice.below(2 * look.cast_spread + 1) - look.cast_spread) >> 8
    image >>= 8
    if look.mix > 0:
        image = _mixed(image, look.mix, dice)
    grey = _grey(image)
    saturation, chroma = _fixed(dice.uniform(*look.saturation)), dice.chance(look.chroma)
    edge, noise = _fixed(dice.uniform(*look.vignette)), _fixed(dice.uniform(*look.noise)) >> 2
    y, x = np.arange(height, dtype=np.int32)[:, None] * 2 - height, np.arange(width, dtype=np.int32) * 2 - width
    fall = 256 - ((x * x * 256 // (width * width) + y * y * 256 // (height * height)) * edge >> 9)
    grain = dice.bytes(2, 3, height, width)
    grain_sum = np.add(grain[0], grain[1], dtype=np.int32)
    for k in range(3):
        colour = image[k] - grey
        if chroma:
            colour = blur(blur(colour))
        colour *= saturation
        colour >>= 8
        colour += grey
        colour *= fall
        colour >>= 8
        image[k] = colour
    grain_sum -= 255
    grain_sum *= noise
    grain_sum >>= 13
    image += grain_sum
    tone = _tone(_fixed(dice.uniform(*look.contrast)), int(dice.uniform(*look.lift)))
    image += 256
    finished = np.take(tone, image, mode="clip")
    return np.ascontiguousarray(finished.transpose(1, 2, 0))


def _mixed(image: Image, strength: float, dice: Dice) -> Image:
    """Mix the colour channels at random."""
    mixed = np.empty_like(image)
    for k in range(3):
        weight = [_fixed(strength * dice.uniform(0.0, 0.6)) for _ in range(3)]
        weight[k] = 256 - sum(w for i, w in enumerate(weight) if i != k)
        mixed[k] = (weight[0] * image[0] + weight[1] * image[1] + weight[2] * image[2]) >> 8
    return mixed


def _tone(contrast: int, lift: int) -> NDArray[np.uint8]:
    """Return the tone curve over -256..1023: contrast about middle grey, a soft shoulder, lifted blacks."""
    curve = 118 + ((np.arange(-256, 1024, dtype=np.int32) - 118) * contrast >> 8)
    over = np.maximum(curve - 200, 0)
    curve = np.minimum(curve, 200) + 55 * over // (over + 55)
    return np.clip(lift + curve * (255 - lift) // 246, 0, 255).astype(np.uint8)
