"""Cars, trucks, buses and trams: boxes with windows, lamps and wheels painted on."""

from __future__ import annotations

from functools import cache

from .materials import (
    AMBER,
    BLACK,
    BUS,
    CAR,
    CHROME,
    CLOTH,
    DARK,
    GLASS,
    GREY,
    HEADLAMP,
    LIGHT,
    METAL,
    PANEL,
    PLASTIC,
    PLATE,
    RIBS,
    RUBBER,
    TAILLAMP,
    TRAIN,
    TRUCK,
    WINDOW,
    WOOD,
)  # fmt: skip
from .mesh import Face, Shape, Template

# Dimensions of each body: half width, length, heights of sill, belt and roof, and the ends of the cabin at belt and
# roof (fractions of the length).
_CARS = {
    "hatch": (0.88, 4.0, 0.28, 0.92, 1.50, (0.02, 0.74), (0.10, 0.56)),
    "saloon": (0.90, 4.7, 0.28, 0.92, 1.44, (0.16, 0.76), (0.28, 0.60)),
    "estate": (0.91, 4.7, 0.30, 0.95, 1.50, (0.01, 0.76), (0.06, 0.62)),
    "suv": (0.98, 4.7, 0.42, 1.12, 1.80, (0.01, 0.78), (0.06, 0.64)),
    "van": (0.98, 4.9, 0.36, 1.15, 2.05, (0.00, 0.90), (0.02, 0.74)),
    "pickup": (0.98, 5.3, 0.46, 1.08, 1.80, (0.38, 0.76), (0.42, 0.64)),
    "tiny": (0.76, 3.2, 0.26, 0.98, 1.82, (0.01, 0.94), (0.03, 0.84)),
    "coupe": (0.96, 4.5, 0.20, 0.78, 1.20, (0.22, 0.72), (0.36, 0.52)),
    "old": (0.82, 3.9, 0.40, 0.92, 1.62, (0.22, 0.66), (0.28, 0.60)),
    "minibus": (1.00, 5.4, 0.38, 1.20, 2.45, (0.00, 0.97), (0.01, 0.88)),
    "offroad": (0.94, 4.2, 0.62, 1.22, 2.02, (0.02, 0.66), (0.03, 0.63)),
}


def _wheels(shape: Shape, half: float, radius: float, places: tuple[float, ...]) -> None:
    """Add the treads of the tyres: dark boxes, painted before the body."""
    for z in places:
        for side in (-1, 1):
            x0, x1 = sorted((side * half, side * (half - 0.24)))
            shape.piece(bias=3.0)
            shape.box(x0, x1, 0.0, radius, z - 0.7 * radius, z + 0.7 * radius, BLACK, RUBBER, faces="bflr")


def _discs(shape: Shape, half: float, radius: float, places: tuple[float, ...]) -> None:
    """Add the outer sides of the wheels, painted over the side of the body."""
    for z in places:
        for side, axis in ((-1, "x"), (1, "+x")):
            x = side * (half + 0.01)
            shape.disc((x, radius, z), radius * 1.18, DARK, PLASTIC, axis=axis, one_sided=True)
            shape.disc((x, radius, z), radius, BLACK, RUBBER, axis=axis, one_sided=True)
            shape.disc((x, radius, z), 0.6 * radius, CHROME, METAL, axis=axis, one_sided=True)


@cache
def car(body: str) -> Template:
    """Return a car; palette slots: 0 body, 1 roof."""
    half, length, sill, belt, roof, at_belt, at_roof = _CARS[body]
    shape = Shape(CAR)
    z0, z1 = -0.5 * length, 0.5 * length
    places = (z0 + 0.19 * length, z0 + 0.81 * length)
    _wheels(shape, half - 0.04, 0.34, places)
    shape.piece(bias=0.6)
    lower = shape.loft(
        (-half, half, z0 + 0.06, z1 - 0.1), sill, (-half + 0.05, half - 0.05, z0, z1 - 0.16), belt, 0, PANEL
    )
    for name in "bf":
        shape.decal(lower[name], 0.0, 1.0, 0.0, 0.28, DARK, PLASTIC)
        shape.decal(lower[name], 0.36, 0.64, 0.22, 0.42, PLATE, PLASTIC)
    for u in (0.02, 0.78):
        shape.decal(lower["b"], u, u + 0.20, 0.56, 0.86, TAILLAMP, LIGHT)
        shape.decal(lower["f"], u, u + 0.20, 0.56, 0.84, HEADLAMP, LIGHT)
    shape.decal(lower["f"], 0.26, 0.74, 0.46, 0.8, BLACK, PLASTIC)
    for name in "lr":
        shape.decal(lower[name], 0.0, 1.0, 0.0, 0.14, DARK, PLASTIC)
    _discs(shape, half, 0.34, places)
    shape.piece()
    low = z0 + at_belt[0] * length, z0 + at_belt[1] * length
    high = z0 + at_roof[0] * length, z0 + at_roof[1] * length
    cabin = shape.loft((-half + 0.06, half - 0.06, *low), belt, (-half + 0.2, half - 0.2, *high), roof, 1, PANEL)
    shape.decal(cabin["b"], 0.10, 0.90, 0.16, 0.86, WINDOW, GLASS)
    shape.decal(cabin["f"], 0.06, 0.94, 0.06, 0.90, WINDOW, GLASS)
    for name in "lr":
        shape.decal(cabin[name], 0.07, 0.46, 0.10, 0.86, WINDOW, GLASS)
        if body == "van":
            continue
        shape.decal(cabin[name], 0.52, 0.90, 0.10, 0.86, WINDOW, GLASS)
    return shape.done()


# Dimensions of each body: length, half width, height of the load, its material, distance between ribs.
_TRUCKS = {
    "box": (7.4, 1.22, 3.3, PANEL, 0.55),
    "tarp": (9.2, 1.25, 3.7, CLOTH, 0.9),
    "bed": (6.6, 1.2, 1.55, WOOD, 0.9),
    "container": (9.6, 1.24, 3.5, METAL, 0.3),
    "tipper": (6.2, 1.25, 2.3, METAL, 1.4),
    "tall": (6.0, 1.1, 4.1, PLASTIC, 3.0),
}


@cache
def truck(body: str) -> Template:
    """Return a truck with a box, a tarpaulin or an open bed; palette slots: 0 cab, 1 load, 2 sign or freight."""
    shape = Shape(TRUCK)
    length, half, top, material, rib = _TRUCKS[body]
    z0, z1 = -0.5 * length, 0.5 * length
    places = (z0 + 1.2, z0 + 2.3, z1 - 1.1) if body == "tarp" else (z0 + 1.5, z1 - 1.1)
    _wheels(shape, half - 0.05, 0.5, places)
    shape.piece(bias=1.5)
    shape.box(-half + 0.1, half - 0.1, 0.45, 0.95, z0, z1 - 0.3, DARK, METAL)
    _cab(shape, half, z1)
    _discs(shape, half - 0.04, 0.5, places[-1:])
    shape.piece()
    load = shape.box(
        -half, half, 0.95, top, z0, z1 - 2.15, 1, material, texture=RIBS, slot2=1, params=(rib, 1.0, 0.12, 0.86)
    )
    if body == "bed":
        shape.piece(bias=-0.5)
        shape.box(-half + 0.2, half - 0.3, 1.55, 2.15, z0 + 0.4, z1 - 3.2, 2, CLOTH)
    else:
        shape.decal(load["b"], 0.47, 0.53, 0.03, 0.97, DARK, PLASTIC)
        shape.decal(load["b"], 0.04, 0.44, 0.05, 0.95, 1, material)
        shape.decal(load["b"], 0.56, 0.96, 0.05, 0.95, 1, material)
        for name in "lr":
            shape.decal(load[name], 0.25, 0.75, 0.36, 0.72, 2, material)
    for u in (0.02, 0.80):
        left, right = -half + 2 * half * u, -half + 2 * half * (u + 0.18)
        shape.rect(left, right, 0.62, 0.92, TAILLAMP, LIGHT, z=z0 - 0.02, one_sided=True)
    shape.rect(-0.3, 0.3, 0.62, 0.85, PLATE, PLASTIC, z=z0 - 0.02, one_sided=True)
    _discs(shape, half - 0.02, 0.5, places[:-1])
    return shape.done()


def _cab(shape: Shape, half: float, z1: float) -> None:
    """Add the cab of a truck, with its front at z1."""
    shape.piece()
    lower, upper = (-half + 0.06, half - 0.06, z1 - 2.0, z1), (-half + 0.1, half - 0.1, z1 - 2.0, z1 - 0.25)
    cab = shape.loft(lower, 0.45, upper, 2.75, 0, PANEL)
    shape.decal(cab["f"], 0.06, 0.94, 0.50, 0.88, WINDOW, GLASS)
    shape.decal(cab["f"], 0.0, 1.0, 0.0, 0.16, DARK, PLASTIC)
    shape.decal(cab["f"], 0.25, 0.75, 0.24, 0.42, BLACK, PLASTIC)
    for u in (0.03, 0.79):
        shape.decal(cab["f"], u, u + 0.18, 0.17, 0.27, HEADLAMP, LIGHT)
    for name in "lr":
        shape.decal(cab[name], 0.30, 0.85, 0.50, 0.86, WINDOW, GLASS)


def _flank(shape: Shape, face: Face, length: float, low: float, high: float, doors: tuple[float, ...]) -> None:
    """Add a row of windows and doors on a long side."""
    count = max(3, int(length / 1.6))
    for k in range(count):
        u0, u1 = 0.03 + 0.94 * k / count, 0.03 + 0.94 * (k + 0.88) / count
        shape.decal(face, u0, u1, low, high, WINDOW, GLASS)
    for u in doors:
        shape.decal(face, u, u + 1.2 / length, 0.06, high, DARK, PLASTIC)
        shape.decal(face, u + 0.1 / length, u + 0.55 / length, 0.10, high - 0.02, WINDOW, GLASS)
        shape.decal(face, u + 0.65 / length, u + 1.1 / length, 0.10, high - 0.02, WINDOW, GLASS)


@cache
def bus(decks: int) -> Template:
    """Return a bus with one or two decks; palette slots: 0 body, 1 stripe."""
    shape = Shape(BUS)
    half, length, top = 1.27, 11.5, 3.1 if decks == 1 else 4.3
    z0, z1 = -0.5 * length, 0.5 * length
    places = (z0 + 3.0, z1 - 2.7)
    _wheels(shape, half - 0.06, 0.48, places)
    shape.piece()
    hull = shape.loft((-half, half, z0, z1), 0.32, (-half + 0.05, half - 0.05, z0 + 0.05, z1 - 0.1), top, 0, PANEL)
    tall = top - 0.32
    low, high = 0.95 / tall, (2.45 if decks == 1 else 2.0) / tall
    for name in "lr":
        shape.decal(hull[name], 0.0, 1.0, 0.0, 0.09, DARK, PLASTIC)
        shape.decal(hull[name], 0.0, 1.0, 0.15, 0.22, 1, PANEL)
        _flank(shape, hull[name], length, low, high, (0.12, 0.46, 0.84) if name == "r" else ())
        if decks == 2:
            _flank(shape, hull[name], length, 2.6 / tall, 3.6 / tall, ())
    shape.decal(hull["b"], 0.08, 0.92, 1.35 / tall, 2.4 / tall, WINDOW, GLASS)
    shape.decal(hull["b"], 0.1, 0.9, 0.12, 0.36, 1, PANEL)
    shape.decal(hull["b"], 0.3, 0.7, 0.13, 0.22, PLATE, PLASTIC)
    shape.decal(hull["f"], 0.04, 0.96, 0.85 / tall, 2.4 / tall, WINDOW, GLASS)
    for name in "bf":
        if decks == 2:
            shape.decal(hull[name], 0.06, 0.94, 2.7 / tall, 3.7 / tall, WINDOW, GLASS)
        sign = (2.5 / tall, 2.78 / tall) if decks == 1 else (2.42 / tall, 2.66 / tall)
        shape.decal(hull[name], 0.2, 0.8, *sign, BLACK, PLASTIC)
        shape.decal(hull[name], 0.28, 0.72, sign[0] + 0.02, sign[1] - 0.02, AMBER, LIGHT)
        lamp, height = (TAILLAMP, (0.30, 0.46)) if name == "b" else (HEADLAMP, (0.08, 0.17))
        for u in (0.02, 0.86):
            shape.decal(hull[name], u, u + 0.12, *height, lamp, LIGHT)
    _discs(shape, half - 0.03, 0.48, places)
    return shape.done()


@cache
def tram(cars: int) -> Template:
    """Return a tram with the given number of cars and a pantograph; palette slots: 0 body, 1 stripe."""
    shape = Shape(TRAIN)
    half, top, part = 1.2, 3.4, 8.5
    total = cars * part + (cars - 1) * 0.5
    for k in range(cars):
        z0 = -0.5 * total + k * (part + 0.5)
        z1 = z0 + part
        front, back = k == cars - 1, k == 0
        shape.piece(bias=0.2)
        shape.box(-half + 0.15, half - 0.15, 0.06, 0.4, z0 + 0.8, z1 - 0.8, BLACK, METAL)
        shape.piece()
        ends = (z0 + (0.5 if back else 0.0), z1 - (0.5 if front else 0.0))
        hull = shape.loft((-half, half, z0, z1), 0.34, (-half + 0.12, half - 0.12, *ends), top, 0, PANEL)
        for name in "lr":
            shape.decal(hull[name], 0.0, 1.0, 0.06, 0.2, 1, PANEL)
            _flank(shape, hull[name], part, 0.30, 0.78, (0.2, 0.62))
        if back:
            _tram_end(shape, hull["b"], TAILLAMP)
        if front:
            _tram_end(shape, hull["f"], HEADLAMP)
        else:
            shape.piece()
            shape.box(-half + 0.2, half - 0.2, 0.4, top - 0.2, z1, z1 + 0.5, DARK, RUBBER)
    shape.piece()
    shape.box(-0.7, 0.7, top, top + 0.25, -1.5, 1.5, GREY, METAL)
    for x0, x1 in ((-0.7, 0.1), (0.7, -0.1)):
        low, high = top + 0.2, top + 1.3
        shape.flat([(x0, low), (x0 + 0.1, low), (x1 + 0.1, high), (x1, high)], DARK, METAL, z=-0.4)
    shape.rect(-0.9, 0.9, top + 1.28, top + 1.42, DARK, METAL, z=-0.4)
    return shape.done()


def _tram_end(shape: Shape, face: Face, lamp: int) -> None:
    shape.decal(face, 0.0, 1.0, 0.05, 0.22, 1, PANEL)
    shape.decal(face, 0.12, 0.88, 0.32, 0.74, WINDOW, GLASS)
    shape.decal(face, 0.25, 0.75, 0.78, 0.92, BLACK, PLASTIC)
    shape.decal(face, 0.32, 0.68, 0.81, 0.89, AMBER, LIGHT)
    for u in (0.06, 0.78):
        shape.decal(face, u, u + 0.16, 0.12, 0.20, lamp, LIGHT)
