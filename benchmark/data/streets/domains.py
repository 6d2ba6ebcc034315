"""The nine domains: mixtures of street layouts and of appearances.

They were tuned by eye (plausible streets), by class frequencies, and by frozen, scratch and upper-bound probes (see the
model card of ``vit-tiny-streets``), never by the results of any fine-tuning method.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.common.errors import UserError, nearest

from . import targets
from .look import Look
from .street import Layout
from .world import GAME, GAME_LOOK, WORLD_LAYOUTS, WORLD_LOOKS

# Increase it whenever a rendered image changes, together with ``stream`` of the domains that change.
VERSION = "2"


@dataclass(frozen=True)
class Domain:
    """A distribution over streets: each street draws one layout and one look, uniformly.

    ``stream`` seeds the RNG of all its frames. It consists of the version in which its images last changed and a word,
    and stays the same as long as the images do.

    Attributes:
        name: name of the domain.
        layouts, looks: what a street draws from.
        jpeg: quality of its image files in JPEG; None for PNG.
    """

    name: str
    stream: str
    layouts: tuple[Layout, ...]
    looks: tuple[Look, ...]
    jpeg: int | None = None

    @property
    def version(self) -> str:
        """The version in which the domain's images last changed."""
        return self.stream.partition("/")[0]


def find(name: str) -> Domain:
    """Return the domain of this name.

    Raises:
        UserError: there is none; the message suggests the nearest.
    """
    if name not in DOMAINS:
        raise UserError(f"unknown domain {name!r}; {nearest(name, DOMAINS)}")
    return DOMAINS[name]


DOMAINS: dict[str, Domain] = {
    domain.name: domain
    for domain in (
        Domain("game", "1/gta5", (GAME,), (GAME_LOOK,)),
        Domain("overcast", "2/overcast", targets.OVERCAST, (targets.OVERCAST_LOOK,)),
        Domain("dashcam", "2/dashcam", targets.DASHCAM, targets.DASHCAM_LOOKS, jpeg=95),
        Domain("worldwide", "2/worldwide", targets.WORLDWIDE, targets.WORLDWIDE_LOOKS, jpeg=92),
        Domain("fog", "2/fog", targets.OVERCAST, (targets.FOG,)),
        Domain("night", "2/night", targets.OVERCAST, (targets.NIGHT,)),
        Domain("rain", "2/rain", targets.OVERCAST, (targets.RAIN,)),
        Domain("snow", "2/snow", targets.WINTER, (targets.SNOW,)),
        Domain("world", "1/world", WORLD_LAYOUTS, WORLD_LOOKS),
    )
}
