"""Objects as lists of flat polygons: templates that are built once and placed many times.

The axes of the world and of a template, in metres, are x right, y up, z forward (where the object faces or drives).
The corners of a polygon are ordered bottom left, bottom right, top right, top left, seen from its outer side. Its
first and last edge span the surface coordinates of its texture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dice import RING12

Point = tuple[float, float, float]
Face = list[Point]  # four corners
_NO_PARAMS = (1.0, 1.0, 0.5, 0.0)


# Fields of a polygon in a template.
POLYGON = np.dtype(
    [
        ("start", np.int64),  # index of its first corner
        ("count", np.int64),  # number of corners
        ("label", np.uint8),
        ("material", np.uint8),
        ("slot", np.int64),  # palette slot of its colour
        ("slot2", np.int64),  # palette slot of its texture's second colour
        ("texture", np.uint8),
        ("params", np.float32, 4),  # of the texture
        ("one_sided", np.bool_),
        ("hollow", np.bool_),  # sets label and instance only; the surface behind shows through
        ("centre", np.float64, 3),  # centre of its convex piece
        ("bias", np.float64),  # metres added to the distance of its piece
    ]
)


@dataclass(frozen=True)
class Template:
    """The P polygons of an object, with C corners in total."""

    corners: NDArray[np.float64]  # (3, C), polygon by polygon
    polygons: NDArray[np.void]  # (P,) POLYGON
    radius: float  # radius of its bounding sphere around the origin


@dataclass
class Shape:
    """Collects polygons. The current label and piece apply to the polygons added next."""

    label: int
    rows: list[tuple] = field(default_factory=list)
    _group: int = 0
    _biases: list[float] = field(default_factory=lambda: [0.0])

    def piece(self, bias: float = 0.0) -> None:
        """Start a new convex piece. Pieces are painted from far to near; a positive bias paints this one earlier."""
        self._group += 1
        self._biases.append(bias)

    def poly(
        self, corners: Sequence[Point], slot: int, material: int, *, texture: int = 0, slot2: int = 0,
        params: tuple[float, float, float, float] = _NO_PARAMS, one_sided: bool = False, hollow: bool = False,
        label: int | None = None,
    ) -> None:  # fmt: skip
        """Add a flat, convex polygon of three or more corners."""
        used = self.label if label is None else label
        self.rows.append((corners, self._group, used, material, slot, slot2, texture, params, one_sided, hollow))

    def flat(
        self, outline: Sequence[tuple[float, float]], slot: int, material: int, z: float = 0.0, **more: Any
    ) -> None:
        """Add a polygon that faces the viewer, from (x, y) corners."""
        self.poly([(x, y, z) for x, y in outline], slot, material, **more)

    def rect(
        self, x0: float, x1: float, y0: float, y1: float, slot: int, material: int, z: float = 0.0, **more: Any
    ) -> None:
        """Add an upright rectangle that faces the viewer."""
        self.flat([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], slot, material, z, **more)

    def disc(self, centre: Point, radius: float, slot: int, material: int, *, axis: str = "z", **more: Any) -> None:
        """Add a twelve-cornered disc whose normal is the axis ("z" faces the viewer, "x" the side)."""
        x, y, z = centre
        if axis == "z":
            points = [(x + radius * c, y + radius * s, z) for c, s in RING12]
        elif axis == "y":
            points = [(x + radius * c, y, z + radius * s) for c, s in RING12]
        else:
            points = [(x, y + radius * s, z - radius * c) for c, s in RING12]
            if axis == "+x":
                points = [(x, y + radius * s, z + radius * c) for c, s in RING12]
        self.poly(points, slot, material, **more)

    def loft(
        self, lower: tuple[float, float, float, float], y0: float, upper: tuple[float, float, float, float], y1: float,
        slot: int, material: int, *, faces: str = "bflrt", **more: Any,
    ) -> dict[str, Face]:  # fmt: skip
        """Add a box whose lower and upper rectangles (x0, x1, z0, z1) may differ; return the corners of its faces."""
        a0, a1, c0, c1 = lower
        b0, b1, d0, d1 = upper
        sides: dict[str, Face] = {
            "b": [(a0, y0, c0), (a1, y0, c0), (b1, y1, d0), (b0, y1, d0)],
            "f": [(a1, y0, c1), (a0, y0, c1), (b0, y1, d1), (b1, y1, d1)],
            "l": [(a0, y0, c1), (a0, y0, c0), (b0, y1, d0), (b0, y1, d1)],
            "r": [(a1, y0, c0), (a1, y0, c1), (b1, y1, d1), (b1, y1, d0)],
            "t": [(b0, y1, d0), (b1, y1, d0), (b1, y1, d1), (b0, y1, d1)],
            "u": [(a1, y0, c0), (a0, y0, c0), (a0, y0, c1), (a1, y0, c1)],
        }
        for name in faces:
            self.poly(sides[name], slot, material, one_sided=True, **more)
        return sides

    def box(
        self, x0: float, x1: float, y0: float, y1: float, z0: float, z1: float, slot: int, material: int,
        **more: Any,
    ) -> dict[str, Face]:  # fmt: skip
        """Add an upright box."""
        rectangle = (x0, x1, z0, z1)
        return self.loft(rectangle, y0, rectangle, y1, slot, material, **more)

    def decal(
        self, face: Face, u0: float, u1: float, v0: float, v1: float, slot: int, material: int, **more: Any
    ) -> None:
        """Add a rectangle on a face, in fractions of the face's width and height."""
        self.poly([_on(face, u, v) for u, v in ((u0, v0), (u1, v0), (u1, v1), (u0, v1))], slot, material,
                  one_sided=True, **more)  # fmt: skip

    def done(self) -> Template:
        """Return the collected polygons as arrays."""
        table = np.zeros(len(self.rows), POLYGON)
        corners: list[Point] = []
        sums = [[0.0, 0.0, 0.0, 0.0] for _ in self._biases]
        for index, (points, group, *rest) in enumerate(self.rows):
            label, material, slot, slot2, texture, params, one_sided, hollow = rest
            table[index] = (len(corners), len(points), label, material, slot, slot2, texture, params, one_sided, hollow,
                            (0.0, 0.0, 0.0), self._biases[group])  # fmt: skip
            corners.extend(points)
            total = sums[group]
            for x, y, z in points:
                total[0] += x
                total[1] += y
                total[2] += z
                total[3] += 1.0
        table["centre"] = [[sums[row[1]][k] / sums[row[1]][3] for k in range(3)] for row in self.rows]
        packed = np.array(corners).T.copy()
        radius = np.sqrt((packed[0] ** 2 + packed[1] ** 2 + packed[2] ** 2).max())
        return Template(packed, table, float(radius))


def _on(face: Face, u: float, v: float) -> Point:
    """Return the point at fractions (u, v) of a four-cornered face."""
    a, b, c, d = face
    w = (1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v
    return tuple(w[0] * a[k] + w[1] * b[k] + w[2] * c[k] + w[3] * d[k] for k in range(3))  # type: ignore[return-value]


@dataclass(frozen=True)
class Placed:
    """A template placed in the world."""

    template: Template
    x: float
    y: float
    z: float
    kind: str  # selects the colours to draw for it
    heading: tuple[float, float] = (1.0, 0.0)  # cosine, sine of its rotation about the vertical
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    instance: bool = True
    farther: float = 0.0  # metres added to its distance in the painter's order
    shadow: tuple[float, float, float] | None = None  # half width, half length, height of the shadow's caster
