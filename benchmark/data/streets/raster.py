"""From placed objects to per-pixel surfaces: projection, near clipping, painter's order, one index raster.

Every pixel remembers which polygon it shows; class, instance, material, depth, normal and texture
coordinates are then table look-ups, because 1/z and the numerators of perspective texture mapping are
affine in pixel coordinates on a plane.

Floating point enters only as single additions, products, quotients and roots of NumPy, which IEEE 754 rounds
alike everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from . import materials as m
from .camera import Camera
from .mesh import Placed

_FIXED = 4  # fractional bits of the polygon filler's coordinates
_FAR = 900.0


@dataclass(frozen=True)
class Polygons:
    """What is in view, in painting order, over P polygons (row 0 stands for the sky)."""

    owner: NDArray[np.int64]  # (P,) index into the placed objects, -1 for the sky
    label: NDArray[np.uint8]
    instance: NDArray[np.int32]
    material: NDArray[np.uint8]
    texture: NDArray[np.uint8]
    params: NDArray[np.float32]  # (4, P)
    slot: NDArray[np.int64]
    slot2: NDArray[np.int64]
    normal: NDArray[np.float32]  # (P, 3), camera axes, towards the camera
    plane: NDArray[np.float32]  # (13, P): 1/z (3), its bounds (2), s (4), t (4)


@dataclass(frozen=True)
class Surfaces:
    """The picture's geometry, without any colour."""

    camera: Camera
    placed: list[Placed]
    polygons: Polygons
    front: NDArray[np.uint16]  # (H, W) polygon that gives label and instance
    seen: NDArray[np.uint16]  # (H, W) polygon whose surface is seen: differs where `front` is hollow
    inverse_depth: NDArray[np.float32]  # (H, W), 0 for the sky
    s: NDArray[np.float32]  # (H, W) surface coordinates of what is seen, metres
    t: NDArray[np.float32]


def rasterise(placed: list[Placed], camera: Camera, size: tuple[int, int]) -> Surfaces:
    """Paint the objects, ground first, then far to near."""
    height, width = size
    placed = _in_view(placed, camera, size)
    corners, counts, polygons, hollow = _assemble(placed, camera)
    focal = camera.focal * width
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1.0 / corners[..., 2]
    xs = corners[..., 0] * inverse * focal + (0.5 * width - 0.5)
    ys = corners[..., 1] * inverse * focal + (camera.centre * height - 0.5)
    clipped = np.flatnonzero((corners[..., 2] < camera.near).any(axis=1))
    own: dict[int, NDArray[np.float64]] = {}
    for index in clipped.tolist():
        own[index] = _clip(corners[index, : counts[index]], camera.near)
    inside = (xs.max(1) > -1) & (xs.min(1) < width) & (ys.max(1) > -1) & (ys.min(1) < height)
    # What is smaller than half a pixel both ways would still be painted as a whole one.
    inside &= (xs.max(1) - xs.min(1) > 0.5) | (ys.max(1) - ys.min(1) > 0.5)
    inside[clipped] = True
    points = np.empty((len(xs), xs.shape[1], 2), np.int32)
    limit = 1e6
    points[..., 0] = np.floor(np.clip(xs, -limit, limit) * (1 << _FIXED) + 0.5)
    points[..., 1] = np.floor(np.clip(ys, -limit, limit) * (1 << _FIXED) + 0.5)
    front = np.zeros((height, width), np.uint16)
    under = np.zeros((height, width), np.uint16)
    see_through = np.zeros(len(xs) + 1, np.bool_)
    see_through[1:] = hollow
    fill = cv2.fillConvexPoly
    hollows = set(np.flatnonzero(hollow).tolist())
    count_list = counts.tolist()
    for index in np.flatnonzero(inside).tolist():
        if index in own:
            piece = own[index]
            if len(piece) < 3:
                continue
            scaled = np.empty((len(piece), 2), np.float64)
            scaled[:, 0] = piece[:, 0] / piece[:, 2] * focal + (0.5 * width - 0.5)
            scaled[:, 1] = piece[:, 1] / piece[:, 2] * focal + (camera.centre * height - 0.5)
            outline = np.floor(np.clip(scaled, -limit, limit) * (1 << _FIXED) + 0.5).astype(np.int32)
        else:
            outline = points[index, : count_list[index]]
        if index in hollows:
            _keep_under(front, under, see_through, outline)
        fill(front, outline, index + 1, 8, _FIXED)
    seen = np.where(see_through[front], under, front)
    inverse_depth, s, t = _surface(polygons.plane, seen, camera, size)
    return Surfaces(camera, placed, polygons, front, seen, inverse_depth, s, t)


def _in_view(placed: list[Placed], camera: Camera, size: tuple[int, int]) -> list[Placed]:
    """Leave out objects that the picture's left or right edge, or the camera's plane, cuts off entirely."""
    reach = np.array([p.template.radius * max(p.scale) for p in placed])
    centre = camera.to_camera(np.array([(p.x, p.y, p.z) for p in placed]))
    # The picture's diagonal, so that roll changes nothing.
    slope = 0.5 * (size[1] + size[0]) / (camera.focal * size[1])
    margin = reach * (1.0 + slope)
    keep = (centre[:, 2] + reach > camera.near) & (np.abs(centre[:, 0]) - margin < np.maximum(centre[:, 2], 0.0) * slope)
    return [item for item, kept in zip(placed, keep.tolist(), strict=True) if kept]


def _assemble(
    placed: list[Placed], camera: Camera
) -> tuple[NDArray[np.float64], NDArray[np.int64], Polygons, NDArray[np.bool_]]:
    """Move every template into camera axes, cull, sort; return (corners, counts, tables, hollow)."""
    templates = [item.template for item in placed]
    sizes = np.array([len(template.count) for template in templates])
    owner = np.repeat(np.arange(len(placed)), sizes)
    pose = np.array([(p.x, p.y, p.z, *p.heading, *p.scale) for p in placed])[owner]
    local = np.concatenate([template.corners for template in templates])
    world = _turn(local, pose[:, None, :])
    corners = camera.to_camera(world)
    count = np.concatenate([template.count for template in templates])
    rows = np.arange(len(count))
    a, b, c = corners[:, 0], corners[rows, count // 3], corners[rows, 2 * count // 3]
    normal = _cross(b - a, c - a)
    length = np.sqrt(_dot(normal, normal))
    normal /= np.maximum(length, 1e-12)[:, None]
    facing = _dot(normal, a)
    one_sided = np.concatenate([template.one_sided for template in templates])
    keep = (~one_sided | (facing < 0)) & (corners[..., 2].max(1) > camera.near)
    centres = np.concatenate([template.group_centre for template in templates])
    centre = camera.to_camera(_turn(centres, pose))
    bias = np.concatenate([template.group_bias for template in templates])
    near_first = np.sqrt(_dot(centre, centre)) + bias
    axis = camera.to_camera(np.array([(p.x, camera.height, p.z) for p in placed]))
    object_key = axis[:, 2] + 0.6 * np.abs(axis[:, 0]) + np.array([p.farther for p in placed])
    chosen = np.flatnonzero(keep)
    order = np.lexsort((chosen, -near_first[chosen], owner[chosen], -object_key[owner[chosen]]))
    index = chosen[order]
    flip = np.where(facing[index] > 0, -1.0, 1.0)[:, None]

    def gather(name: str) -> NDArray:
        return np.concatenate([getattr(template, name) for template in templates])[index]

    identity = np.cumsum([p.instance for p in placed]) * np.array([p.instance for p in placed])
    polygons = Polygons(
        owner=_with_sky(owner[index], -1),
        label=_with_sky(gather("label"), m.SKY),
        instance=_with_sky(identity[owner[index]], 0).astype(np.int32),
        material=_with_sky(gather("material"), m.AIR),
        texture=_with_sky(gather("texture"), m.PLAIN),
        params=np.ascontiguousarray(_with_sky(gather("params"), 1.0).T, np.float32),
        slot=_with_sky(gather("slot"), 0),
        slot2=_with_sky(gather("slot2"), 0),
        normal=_with_sky(normal[index] * flip, 0.0).astype(np.float32),
        plane=_planes(corners[index], count[index], normal[index]),
    )
    return corners[index], count[index], polygons, gather("hollow")


def _planes(
    corners: NDArray[np.float64], count: NDArray[np.int64], normal: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the (13, P + 1) coefficients of 1/z and of the surface coordinates."""
    origin = corners[:, 0]
    distance = _dot(normal, origin)
    depth = np.maximum(corners[..., 2], 0.2)
    edge_on = np.abs(distance) < 1e-3
    safe = np.where(edge_on, 1.0, distance)
    inverse = normal / safe[:, None]
    inverse[edge_on] = 0.0
    inverse[edge_on, 2] = 1.0 / depth[edge_on, 0]
    first = corners[:, 1] - origin
    first /= np.maximum(np.sqrt(_dot(first, first)), 1e-9)[:, None]
    last = corners[np.arange(len(count)), count - 1] - origin
    second = last - first * _dot(last, first)[:, None]
    second /= np.maximum(np.sqrt(_dot(second, second)), 1e-9)[:, None]
    columns = [
        inverse[:, 0], inverse[:, 1], inverse[:, 2], 1.0 / depth.max(1), 1.0 / depth.min(1),
        first[:, 0], first[:, 1], first[:, 2], _dot(first, origin),
        second[:, 0], second[:, 1], second[:, 2], _dot(second, origin),
    ]  # fmt: skip
    table = np.zeros((len(columns), len(count) + 1), np.float32)
    table[:, 1:] = np.stack(columns)
    return table


def _surface(
    plane: NDArray[np.float32], seen: NDArray[np.uint16], camera: Camera, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return per pixel 1/z and the surface coordinates (s, t)."""
    u, v = camera.rays(size)
    g = np.take(plane, seen, axis=1)
    inverse = np.clip(g[0] * u + g[1] * v + g[2], g[3], g[4])
    depth = np.float32(1.0) / np.maximum(inverse, np.float32(1.0 / _FAR))
    s = (g[5] * u + g[6] * v + g[7]) * depth - g[8]
    t = (g[9] * u + g[10] * v + g[11]) * depth - g[12]
    return inverse, s, t


def _keep_under(
    front: NDArray[np.uint16], under: NDArray[np.uint16], see_through: NDArray[np.bool_], outline: NDArray[np.int32]
) -> None:
    """Remember what a hollow polygon is about to cover."""
    low = (outline.min(axis=0) >> _FIXED) - 1
    high = (outline.max(axis=0) >> _FIXED) + 3
    box = slice(max(int(low[1]), 0), max(int(high[1]), 0)), slice(max(int(low[0]), 0), max(int(high[0]), 0))
    now = front[box]
    under[box] = np.where(see_through[now], under[box], now)


def _clip(corners: NDArray[np.float64], near: float) -> NDArray[np.float64]:
    """Cut a polygon at the near plane (Sutherland and Hodgman)."""
    points = corners.tolist()
    kept: list[list[float]] = []
    for a, b in zip(points, points[1:] + points[:1], strict=True):
        if a[2] >= near:
            kept.append(a)
        if (a[2] >= near) != (b[2] >= near):
            w = (near - a[2]) / (b[2] - a[2])
            kept.append([a[0] + w * (b[0] - a[0]), a[1] + w * (b[1] - a[1]), near])
    return np.array(kept).reshape(-1, 3)


def _turn(points: NDArray[np.float64], pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale, turn about the vertical and move; pose holds (x, y, z, cosine, sine, scale x, y, z)."""
    x, y, z = (points[..., k] * pose[..., 5 + k] for k in range(3))
    c, s = pose[..., 3], pose[..., 4]
    return np.stack([c * x + s * z + pose[..., 0], y + pose[..., 1], c * z - s * x + pose[..., 2]], axis=-1)


def _dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack(
        [
            a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1],
            a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2],
            a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0],
        ],
        axis=-1,
    )


def _with_sky(values: NDArray, sky: float) -> NDArray:
    """Return the table with a first row for the sky."""
    head = np.full((1, *values.shape[1:]), sky, values.dtype)
    return np.concatenate([head, values])
