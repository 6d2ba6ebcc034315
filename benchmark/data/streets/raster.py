"""Rasteriser: projection, near-plane clipping and the painter's algorithm, from placed objects to per-pixel surfaces.

For each pixel, the index of its polygon is stored. Class, instance, material, depth, normal and texture coordinates
are then looked up or computed per polygon: on a plane, 1/z and the numerators of perspective texture mapping are
affine in pixel coordinates.

Floating-point numbers are only added, multiplied, divided and square-rooted by NumPy, element by element. IEEE 754
defines the rounding of these operations, so results are the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import cv2
import numpy as np
from numpy.typing import NDArray

from . import materials as m
from .camera import Camera
from .mesh import POLYGON, Placed

Floats = NDArray[np.float64]

_FIXED = 4  # fractional bits of the polygon filler's coordinates
_FAR = 900.0
_LIMIT = 1e6  # largest pixel coordinate that fits into the polygon filler's fixed-point format


@dataclass(frozen=True)
class Polygons:
    """The P visible polygons in painting order (row 0 is the sky)."""

    owner: NDArray[np.int64]  # (P,) index into the placed objects, -1 for the sky
    instance: NDArray[np.int32]
    table: NDArray[np.void]  # (P,) mesh.POLYGON
    normal: NDArray[np.float32]  # (3, P), camera axes, towards the camera
    plane: NDArray[np.float32]  # (13, P): 1/z (3), its bounds (2), s (4), t (4)

    @property
    def label(self) -> NDArray[np.uint8]:
        """Label ids."""
        return self.table["label"]

    @property
    def material(self) -> NDArray[np.uint8]:
        """Indices into MATERIALS."""
        return self.table["material"]

    @property
    def texture(self) -> NDArray[np.uint8]:
        """Texture codes."""
        return self.table["texture"]


@dataclass(frozen=True)
class Surfaces:
    """The geometry of an image, without colours."""

    camera: Camera
    placed: list[Placed]
    polygons: Polygons
    front: NDArray[np.intp]  # (H, W) polygon that sets label and instance
    seen: NDArray[np.intp]  # (H, W) polygon whose surface is visible: differs from `front` where that is hollow
    inverse_depth: NDArray[np.float32]  # (H, W), 0 for the sky
    s: NDArray[np.float32]  # (H, W) surface coordinates of the visible surface, metres
    t: NDArray[np.float32]


@dataclass(frozen=True)
class _Scene:
    """All polygons in camera axes."""

    corners: Floats  # (3, C)
    table: NDArray[np.void]  # (P,) POLYGON, with `start` as an index into all corners
    owner: NDArray[np.int64]  # (P,)
    normal: Floats  # (3, P), unit
    facing: Floats  # (P,) negative if the outer side faces the camera
    centre: Floats  # (3, P) of the convex pieces

    def at(self, offset: NDArray[np.int64] | int) -> Floats:
        """Return the corner with the given number of every polygon."""
        return self.corners[:, self.table["start"] + offset]


def rasterise(placed: list[Placed], camera: Camera, size: tuple[int, int]) -> Surfaces:
    """Rasterise the objects: the ground first, then the others from far to near."""
    placed = _in_view(placed, camera, size)
    scene = _assemble(placed, camera)
    order = _painting_order(placed, scene, camera)
    polygons = _tables(placed, scene, order)
    front, seen = _paint(scene, order, camera, size)
    inverse_depth, s, t = _surface(polygons.plane, seen, camera, size)
    return Surfaces(camera, placed, polygons, front, seen, inverse_depth, s, t)


def _in_view(placed: list[Placed], camera: Camera, size: tuple[int, int]) -> list[Placed]:
    """Drop objects that are entirely outside the left or right edge of the image, or behind the camera."""
    reach = np.array([p.template.radius * max(p.scale) for p in placed])
    x, _, z = camera.to_camera(np.array([(p.x, p.y, p.z) for p in placed]).T)
    # Half the image width, plus a margin for roll.
    slope = 0.5 * (size[1] + 0.2 * size[0]) / (camera.focal * size[1])
    margin = reach * sqrt(1.0 + slope * slope)
    keep = (z + reach > camera.near) & (np.abs(x) - margin < np.maximum(z, 0.0) * slope)
    return [item for item, kept in zip(placed, keep.tolist(), strict=True) if kept]


def _assemble(placed: list[Placed], camera: Camera) -> _Scene:
    """Transform every template into camera axes."""
    templates = [item.template for item in placed]
    owner = np.repeat(np.arange(len(placed)), [len(t.polygons) for t in templates])
    pose = np.array([(p.x, p.y, p.z, *p.heading, *p.scale) for p in placed]).T
    # Copied as bytes, since NumPy would copy structured rows field by field.
    table = np.concatenate([t.polygons.view(np.uint8) for t in templates]).view(POLYGON)
    counts = [t.corners.shape[1] for t in templates]
    table["start"] += (np.cumsum(counts) - counts)[owner]
    corners = _turn(np.concatenate([t.corners for t in templates], axis=1), np.repeat(pose, counts, axis=1))
    corners = camera.to_camera(corners)
    a = corners[:, table["start"]]
    b = corners[:, table["start"] + table["count"] // 3]
    c = corners[:, table["start"] + 2 * table["count"] // 3]
    normal = _cross(b - a, c - a)
    # A polygon without area counts as facing the camera.
    normal = np.where(_dot(normal, normal) < 1e-12, -a, normal)
    normal /= np.sqrt(_dot(normal, normal))
    centre = camera.to_camera(_turn(table["centre"].T, pose[:, owner]))
    return _Scene(corners, table, owner, normal, _dot(normal, a), centre)


def _painting_order(placed: list[Placed], scene: _Scene, camera: Camera) -> NDArray[np.intp]:
    """Return the visible polygons' indices: objects from far to near, their pieces from far to near, then as built."""
    farthest = np.maximum.reduceat(scene.corners[2], scene.table["start"])
    chosen = np.flatnonzero((~scene.table["one_sided"] | (scene.facing < 0)) & (farthest > camera.near))
    piece = np.sqrt(_dot(scene.centre, scene.centre)) + scene.table["bias"]
    axis = camera.to_camera(np.array([(p.x, camera.height, p.z) for p in placed]).T)
    thing = axis[2] + 0.6 * np.abs(axis[0]) + np.array([p.farther for p in placed])
    owner = scene.owner[chosen]
    return chosen[np.lexsort((chosen, -piece[chosen], owner, -thing[owner]))]


def _tables(placed: list[Placed], scene: _Scene, order: NDArray[np.intp]) -> Polygons:
    """Return the look-up tables in painting order, starting with the sky."""
    things = np.array([p.instance for p in placed])
    identity = np.cumsum(things) * things
    owner = np.concatenate([[-1], scene.owner[order]])
    table = np.zeros(len(order) + 1, POLYGON)
    rows = scene.table.view(np.uint8).reshape(-1, POLYGON.itemsize)
    table.view(np.uint8).reshape(-1, POLYGON.itemsize)[1:] = rows[order]
    table[0]["label"], table[0]["material"], table[0]["params"] = m.SKY, m.AIR, 1.0
    instance = identity[owner].astype(np.int32)
    instance[0] = 0
    normal = np.zeros((3, len(order) + 1), np.float32)
    normal[:, 1:] = scene.normal[:, order] * np.where(scene.facing[order] > 0, -1.0, 1.0)
    return Polygons(owner, instance, table, normal, _planes(scene, order))


def _planes(scene: _Scene, order: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return the (13, P + 1) coefficients of 1/z and of the surface coordinates."""
    start, count = scene.table["start"], scene.table["count"]
    depth = np.maximum(scene.corners[2], 0.2)
    nearest, farthest = np.minimum.reduceat(depth, start)[order], np.maximum.reduceat(depth, start)[order]
    start, count, normal, distance = start[order], count[order], scene.normal[:, order], scene.facing[order]
    origin = scene.corners[:, start]
    edge_on = np.abs(distance) < 1e-3
    inverse = normal / np.where(edge_on, 1.0, distance)
    inverse[:, edge_on] = 0.0
    inverse[2, edge_on] = 1.0 / depth[start[edge_on]]
    first = scene.corners[:, start + 1] - origin
    first /= np.maximum(np.sqrt(_dot(first, first)), 1e-9)
    last = scene.corners[:, start + count - 1] - origin
    second = last - first * _dot(last, first)
    second /= np.maximum(np.sqrt(_dot(second, second)), 1e-9)
    table = np.zeros((13, len(order) + 1), np.float32)
    table[0:3, 1:], table[3, 1:], table[4, 1:] = inverse, 1.0 / farthest, 1.0 / nearest
    table[5:8, 1:], table[8, 1:] = first, _dot(first, origin)
    table[9:12, 1:], table[12, 1:] = second, _dot(second, origin)
    return table


def _paint(
    scene: _Scene, order: NDArray[np.intp], camera: Camera, size: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Fill the polygons in order; return the frontmost and the visible polygon of each pixel, 0 for the sky."""
    start, count = scene.table["start"], scene.table["count"]
    points = _project(scene.corners, camera, size)
    xs, ys, zs = points[0], points[1], scene.corners[2]
    low_x, high_x = np.minimum.reduceat(xs, start), np.maximum.reduceat(xs, start)
    low_y, high_y = np.minimum.reduceat(ys, start), np.maximum.reduceat(ys, start)
    cut = np.minimum.reduceat(zs, start) < camera.near
    # Skip polygons smaller than half a pixel in both directions: the filler would paint them as a whole pixel.
    drawn = cut | (
        (high_x > -1) & (low_x < size[1]) & (high_y > -1) & (low_y < size[0])
        & ((high_x - low_x > 0.5) | (high_y - low_y > 0.5))
    )  # fmt: skip
    outlines = np.ascontiguousarray(_fixed_point(points).T)
    front, under = np.zeros(size, np.uint16), np.zeros(size, np.uint16)
    see_through = np.concatenate([[False], scene.table["hollow"][order]])
    numbers = np.flatnonzero(drawn[order])
    chosen = order[numbers]
    rows = zip(numbers.tolist(), start[chosen].tolist(), count[chosen].tolist(), cut[chosen].tolist(), strict=True)
    for number, begin, corners, is_cut in rows:
        outline = outlines[begin : begin + corners]
        if is_cut:
            clipped = _clip(scene.corners[:, begin : begin + corners], camera.near)
            if clipped is None:
                continue
            outline = np.ascontiguousarray(_fixed_point(_project(clipped, camera, size)).T)
        if see_through[number + 1]:
            _keep_under(front, under, see_through, outline)
        cv2.fillConvexPoly(front, outline, number + 1, 8, _FIXED)
    shown = front.astype(np.intp)
    return shown, np.where(see_through[shown], under, shown)


def _project(corners: Floats, camera: Camera, size: tuple[int, int]) -> Floats:
    """Return pixel coordinates (2, C), with integers at pixel centres; undefined for points behind the camera."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1.0 / corners[2]
    focal = camera.focal * size[1]
    points = corners[:2] * inverse * focal
    points[0] += 0.5 * size[1] - 0.5
    points[1] += camera.centre * size[0] - 0.5
    return points


def _fixed_point(points: Floats) -> NDArray[np.int32]:
    """Return coordinates in the polygon filler's fixed-point format."""
    return np.floor(np.clip(points, -_LIMIT, _LIMIT) * (1 << _FIXED) + 0.5).astype(np.int32)


def _surface(
    plane: NDArray[np.float32], seen: NDArray[np.intp], camera: Camera, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return 1/z and the surface coordinates (s, t) of each pixel."""
    u, v = camera.rays(size)
    g = np.take(plane, seen, axis=1)
    inverse = np.clip(g[0] * u + g[1] * v + g[2], g[3], g[4])
    depth = np.float32(1.0) / np.maximum(inverse, np.float32(1.0 / _FAR))
    s = (g[5] * u + g[6] * v + g[7]) * depth - g[8]
    t = (g[9] * u + g[10] * v + g[11]) * depth - g[12]
    return inverse, s, t


def _keep_under(
    front: NDArray[np.uint16],
    under: NDArray[np.uint16],
    see_through: NDArray[np.bool_],
    outline: NDArray[np.int32],
) -> None:
    """Store the pixels that a hollow polygon is about to cover."""
    low = (outline.min(axis=0) >> _FIXED) - 1
    high = (outline.max(axis=0) >> _FIXED) + 3
    box = slice(max(int(low[1]), 0), max(int(high[1]), 0)), slice(max(int(low[0]), 0), max(int(high[0]), 0))
    now = front[box]
    under[box] = np.where(see_through[now], under[box], now)


def _clip(corners: Floats, near: float) -> Floats | None:
    """Clip a polygon (3, C) at the near plane (Sutherland-Hodgman); return None if nothing is left."""
    points = corners.T.tolist()
    kept: list[list[float]] = []
    for a, b in zip(points, points[1:] + points[:1], strict=True):
        if a[2] >= near:
            kept.append(a)
        if (a[2] >= near) != (b[2] >= near):
            w = (near - a[2]) / (b[2] - a[2])
            kept.append([a[0] + w * (b[0] - a[0]), a[1] + w * (b[1] - a[1]), near])
    return np.array(kept).T if len(kept) > 2 else None


def _turn(points: Floats, pose: Floats) -> Floats:
    """Scale, rotate about the vertical and translate; pose is (x, y, z, cosine, sine, scale x, y, z)."""
    x, y, z = points * pose[5:8]
    c, s = pose[3], pose[4]
    return np.stack([c * x + s * z + pose[0], y + pose[1], c * z - s * x + pose[2]])


def _dot(a: Floats, b: Floats) -> Floats:
    products = a * b
    total: Floats = products[0] + products[1] + products[2]
    return total


def _cross(a: Floats, b: Floats) -> Floats:
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
