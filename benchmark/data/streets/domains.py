"""The nine domains."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .layout import Layout
from .palette import Colours
from .style import Look

# Changes whenever a picture changes.
VERSION = "1"


@dataclass(frozen=True)
class Domain:
    """A distribution over layout and appearance."""

    name: str
    layout: Layout
    look: Look


_GERMAN = Layout(
    height=(1.18, 1.32), bonnet=1.0, lanes={1: 0.8, 2: 0.2}, lane_width=(2.9, 3.3), parking=0.8, pavement=(1.6, 3.2),
    verge=0.2, floors=(3, 6), gable=0.6, facades=("plaster", "plaster", "brick"), trees=0.65, traffic=(8.0, 20.0), tram=0.25,
)  # fmt: skip
_MUTED = Colours(
    walls=((176, 168, 142), (188, 184, 170), (150, 138, 116), (140, 140, 130), (162, 120, 98)),
    leaves=((62, 92, 48), (74, 98, 54), (56, 84, 50)), grass=((92, 112, 66), (102, 112, 72)),
    asphalt=((92, 96, 94), (100, 104, 100)), pavement=((146, 146, 138), (134, 136, 130)),
)  # fmt: skip
_GREENISH = Look(
    colours=_MUTED, sun=(0.1, 0.45), ambient=(0.58, 0.75), sky=(((196, 206, 204), (222, 228, 222)), ((150, 176, 190), (212, 222, 218))),
    clouds=(0.2, 0.7), haze=(120.0, 300.0), exposure=(0.82, 1.0), saturation=(0.55, 0.75), contrast=(0.85, 1.0),
    cast=((240, 262, 238), (236, 258, 242)), lift=(6.0, 14.0), vignette=(0.05, 0.15), noise=(1.5, 3.5), blur={0: 0.5, 1: 0.5},
)  # fmt: skip

DOMAINS: dict[str, Domain] = {
    domain.name: domain
    for domain in (
        Domain(
            "gta5",
            Layout(
                height=(1.3, 1.8), bonnet=0.25, lanes={1: 0.25, 2: 0.5, 3: 0.25}, lane_width=(3.2, 3.7), parking=0.5,
                pavement=(2.4, 4.5), floors=(1, 7), gable=0.25, facades=("plaster", "concrete", "brick", "glass"), trees=0.6,
                tree_kinds=("round", "broad", "palm", "palm", "conifer"), arm_lights=0.6,
                bodies=("saloon", "suv", "pickup", "hatch", "van", "saloon"), wooden_poles=0.2, tram=0.2, hills=0.5,
                signs=("stop", "diamond", "limit", "direction", "plate", "noentry", "parking", "warning"),
            ),
            Look(
                colours=Colours(
                    walls=((222, 178, 108), (232, 208, 160), (206, 120, 82), (226, 226, 214), (196, 150, 96)),
                    leaves=((66, 132, 34), (88, 146, 40), (54, 112, 36)), grass=((120, 160, 52), (176, 166, 84)),
                    asphalt=((94, 92, 94), (110, 104, 100)), pavement=((196, 180, 154), (186, 178, 166)), centre_line=(232, 180, 46),
                ),
                sun=(0.65, 0.95), ambient=(0.5, 0.62), warm=(0.05, 0.2), clouds=(0.0, 0.9), haze=(300.0, 800.0),
                sky=(((44, 116, 220), (170, 208, 244)), ((70, 140, 226), (206, 222, 236)), ((60, 104, 196), (236, 206, 170))),
                exposure=(1.0, 1.12), saturation=(1.2, 1.45), contrast=(1.08, 1.25), noise=(0.0, 0.8), lift=(0.0, 1.0),
            ),
        ),
        Domain("cityscapes", _GERMAN, _GREENISH),
        Domain(
            "bdd100k",
            Layout(
                height=(1.2, 1.5), bonnet=0.45, lanes={1: 0.2, 2: 0.5, 3: 0.3}, lane_width=(3.3, 3.8), parking=0.45, pavement=(1.6, 3.0),
                setback=(0.0, 6.0), floors=(1, 5), gable=0.45, facades=("boards", "plaster", "brick", "concrete", "glass"), verge=0.5,
                arm_lights=0.8, wooden_poles=0.5, tram=0.18, tree_kinds=("round", "broad", "tall", "palm", "conifer"),
                bodies=("saloon", "suv", "pickup", "suv", "van", "hatch"), focal=(0.62, 0.8),
                signs=("stop", "diamond", "limit", "direction", "plate", "plate", "yield", "noentry"),
            ),
            Look(
                colours=Colours(centre_line=(206, 168, 60), walls=((170, 160, 146), (196, 190, 182), (136, 96, 80), (120, 124, 130), (150, 150, 132))),
                sun=(0.1, 0.85), ambient=(0.5, 0.7), elevation=(0.1, 0.5), warm=(0.0, 0.35), lamps=0.5, night=(0.0, 0.0),
                sky=(((96, 140, 200), (206, 216, 226)), ((176, 182, 188), (206, 208, 208)), ((92, 100, 140), (232, 178, 134)), ((226, 230, 232), (240, 240, 238))),
                clouds=(0.0, 0.9), haze=(160.0, 500.0), exposure=(0.75, 1.12), saturation=(0.6, 1.0), contrast=(0.9, 1.2),
                cast=((256, 256, 256), (246, 254, 266), (266, 256, 240), (252, 250, 262)), lift=(2.0, 16.0), vignette=(0.0, 0.3), noise=(2.0, 6.0),
                blur={0: 0.2, 1: 0.6, 2: 0.2}, chroma=1.0,
            ),
        ),
        Domain("mapillary", Layout(), Look()),
    )
}
_ADVERSE = replace(_GERMAN, bonnet=0.8, hills=0.2)
DOMAINS["fog"] = Domain("fog", _ADVERSE, replace(_GREENISH, sun=(0.0, 0.08), ambient=(0.75, 0.9), haze=(22.0, 50.0), clouds=(0.0, 0.0), lamps=0.5,
                        sky=(((206, 210, 210), (208, 212, 210)), ((188, 194, 198), (194, 200, 202))), contrast=(0.9, 1.05)))  # fmt: skip
DOMAINS["night"] = Domain("night", _ADVERSE, replace(_GREENISH, sun=(0.0, 0.05), night=(0.72, 0.88), lamps=1.0, exposure=(1.25, 1.6),
                          cast=((272, 252, 226), (262, 256, 246), (250, 256, 262)), clouds=(0.0, 0.2), noise=(4.0, 9.0), lift=(0.0, 8.0),
                          blur={1: 1.0}))  # fmt: skip
DOMAINS["rain"] = Domain("rain", _ADVERSE, replace(_GREENISH, sun=(0.0, 0.08), ambient=(0.55, 0.7), haze=(60.0, 140.0), wet=(0.5, 1.0), streaks=0.7,
                         drops=0.7, lamps=0.7, sky=(((150, 156, 162), (176, 182, 184)), ((176, 180, 184), (196, 200, 200))), blur={1: 1.0},
                         cast=((246, 256, 262), (250, 258, 252))))  # fmt: skip
DOMAINS["snow"] = Domain("snow", replace(_ADVERSE, tree_kinds=("bare", "bare", "conifer", "round")),
                         replace(_GREENISH, sun=(0.0, 0.15), ambient=(0.7, 0.85), haze=(60.0, 160.0), snow=(0.45, 0.95), flakes=0.7, lamps=0.4,
                         sky=(((198, 204, 210), (216, 220, 224)),), cast=((250, 256, 264), (256, 256, 256))))  # fmt: skip
DOMAINS["world"] = Domain("world", Layout(), Look())
