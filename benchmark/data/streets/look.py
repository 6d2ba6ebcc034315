"""The appearance of a street, and the distribution that it is drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .dice import Dice, circle
from .finish import Finish
from .palette import Colours, Rgb

Range = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """A distribution over appearances. Values are drawn uniformly from ranges."""

    colours: Colours = field(default_factory=Colours)
    finishes: tuple[Finish, ...] = ()  # structure of surfaces, in the order of application
    sun: Range = (0.5, 0.9)  # direct light
    ambient: Range = (0.55, 0.7)
    elevation: Range = (0.25, 0.6)  # tangent of half the sun's elevation
    warm: Range = (0.0, 0.1)  # sunlight's yellowness
    sky: tuple[tuple[Rgb, Rgb], ...] = (((70, 130, 215), (190, 215, 240)),)  # zenith, horizon
    clouds: Range = (0.0, 0.5)
    haze: Range = (250.0, 600.0)  # metres at which half the light is lost
    lamps: float = 0.0  # probability that lamps and windows are lit
    night: Range = (0.0, 0.0)  # darkness of sky and ambient light
    wet: Range = (0.0, 0.0)
    snow: Range = (0.0, 0.0)
    streaks: float = 0.0  # probability of rain streaks
    flakes: float = 0.0
    drops: float = 0.0  # probability of drops on the lens
    exposure: Range = (0.95, 1.1)
    saturation: Range = (0.9, 1.1)
    contrast: Range = (0.95, 1.1)
    cast: tuple[Rgb, ...] = ((256, 256, 256),)  # gain per channel, 256 = 1
    cast_spread: int = 6
    lift: Range = (0.0, 4.0)  # added to black
    vignette: Range = (0.0, 0.05)
    noise: Range = (1.0, 3.0)
    blur: Mapping[int, float] = field(default_factory=lambda: {0: 1.0})  # weight by number of blur passes
    chroma: float = 0.0  # probability of colour at half resolution, as in JPEG
    mix: float = 0.0  # strength of a random mixture of the colour channels
    dark: Range = (0.0, 0.0)  # underexposure: 1 = cube of the brightness
    veil: Range = (0.0, 0.0)  # light scattered in the lens or reflected by a windscreen, added towards the top
    compress: Range = (0.0, 0.0)  # step of the quantised frequencies of blocks of 8 x 8 pixels, in grey levels


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
        # The sun is mostly behind the viewer or to the side: a is the cosine of its bearing from behind.
        return Sample(
            look=look,
            sun=dice.uniform(*look.sun),
            ambient=dice.uniform(*look.ambient),
            direction=(c * b, s, -c * a),
            warm=dice.uniform(*look.warm),
            zenith=zenith,
            horizon=horizon,
            night=dice.uniform(*look.night),
            lit=dice.chance(look.lamps),
            wet=dice.uniform(*look.wet),
            snow=dice.uniform(*look.snow),
        )
