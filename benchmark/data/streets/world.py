"""The source domain, and the domain ``world`` that the embedded foundation model is pre-trained on.

They share layouts; neither has finishes, nor any layout or palette of the targets.
"""

from __future__ import annotations

from dataclasses import replace

from .look import Look
from .palette import Colours, Rgb
from .street import Layout

CLEAR: tuple[tuple[Rgb, Rgb], ...] = (((44, 116, 220), (170, 208, 244)), ((70, 140, 226), (206, 222, 236)))
DULL: tuple[tuple[Rgb, Rgb], ...] = (((196, 206, 204), (222, 228, 222)), ((170, 180, 186), (212, 218, 218)))
DUSK: tuple[tuple[Rgb, Rgb], ...] = (((92, 100, 140), (232, 178, 134)), ((70, 84, 128), (214, 160, 150)))
US_SIGNS = ("stop", "diamond", "limit", "direction", "plate", "plate", "yield", "noentry")

# ---- layouts -------------------------------------------------------------------------------------------
GAME = Layout(
    height=(1.3, 1.8), bonnet=0.25, lanes={1: 0.25, 2: 0.5, 3: 0.25}, lane_width=(3.2, 3.7), parking=0.5,
    pavement=(2.4, 4.5), floors=(1, 7), gable=0.25, facades=("plaster", "concrete", "brick", "glass"), trees=0.6,
    tree_kinds=("round", "broad", "palm", "palm", "conifer"), arm_lights=0.6, hills=0.5, wooden_poles=0.2,
    bodies=("saloon", "suv", "pickup", "hatch", "van", "saloon"),
    frontage={"house": 5.0, "wall": 1.8, "fence": 3.4, "park": 0.8, "hedge": 0.4},
    signs=("stop", "diamond", "limit", "direction", "plate", "noentry", "parking", "warning"),
)  # fmt: skip
_GERMAN = Layout(
    height=(1.18, 1.32), bonnet=1.0, lanes={1: 0.8, 2: 0.2}, lane_width=(2.9, 3.3), parking=0.8, pavement=(1.8, 3.4),
    verge=0.25, floors=(3, 6), gable=0.6, facades=("plaster", "plaster", "brick"), trees=0.65, traffic=(8.0, 20.0),
)  # fmt: skip
_AMERICAN = Layout(
    height=(1.2, 1.5), bonnet=0.45, lanes={1: 0.2, 2: 0.5, 3: 0.3}, lane_width=(3.3, 3.8), parking=0.45,
    pavement=(1.6, 3.0),
    setback=(0.0, 6.0), floors=(1, 5), gable=0.45, facades=("boards", "plaster", "brick", "concrete", "glass"),
    verge=0.5,
    arm_lights=0.8, wooden_poles=0.5, tree_kinds=("round", "broad", "tall", "palm", "conifer"), focal=(0.62, 0.8),
    bodies=("saloon", "suv", "pickup", "suv", "van", "hatch"), signs=US_SIGNS,
)  # fmt: skip
_SUBURB = replace(
    _AMERICAN, lanes={1: 1.0}, setback=(3.0, 9.0), floors=(1, 2), gable=0.9, verge=0.8, trees=0.85, bonnet=0.2,
    facades=("boards", "brick", "plaster"),
    frontage={"house": 5.0, "fence": 1.5, "hedge": 1.5, "park": 1.5, "wall": 0.6},
)  # fmt: skip
_BUSY = replace(
    _GERMAN, bonnet=0.1, lanes={1: 0.5, 2: 0.5}, floors=(3, 10), gable=0.1, shop=0.8, parking=0.5, height=(1.2, 1.9),
    facades=("concrete", "plaster", "glass", "concrete"), wooden_poles=0.5, traffic=(6.0, 16.0), left_hand=0.5,
    fleet={"car": 6.0, "truck": 1.2, "bus": 1.4, "motorcycle": 3.0, "bicycle": 2.0}, trees=0.45,
    tree_kinds=("round", "broad", "palm"),
)  # fmt: skip
_ARTERIAL = replace(
    _AMERICAN, lanes={2: 0.5, 3: 0.5}, junction=0.3, setback=(4.0, 12.0), pavement=(1.2, 2.4), hills=0.7,
    frontage={"house": 2.0, "wall": 2.5, "fence": 2.5, "park": 2.0, "hedge": 0.8},
    fleet={"car": 8.0, "truck": 2.6, "bus": 1.2, "motorcycle": 0.8, "bicycle": 0.4},
)  # fmt: skip
_ON_FOOT = replace(
    _GERMAN, bonnet=0.0, pavement_view=1.0, height=(1.3, 1.8), pavement=(2.6, 5.0), focal=(0.55, 0.8), yaw=0.08,
    pitch=(-0.02, 0.05), roll=0.02, left_hand=0.3, floors=(2, 6),
)  # fmt: skip
_FROM_ABOVE = replace(_BUSY, bonnet=0.0, height=(2.2, 3.2), pitch=(0.03, 0.10), roll=0.02, yaw=0.08)
_WIDE_ANGLE = replace(
    _AMERICAN, bonnet=0.2, focal=(0.42, 0.56), yaw=0.1, roll=0.02, pitch=(-0.02, 0.05), height=(1.1, 2.0)
)
_TELE = replace(_GERMAN, bonnet=0.0, focal=(0.85, 1.1), height=(1.2, 2.0), left_hand=0.4)

# ---- looks ---------------------------------------------------------------------------------------------
GAME_LOOK = Look(
    colours=Colours(
        walls=((222, 178, 108), (232, 208, 160), (206, 120, 82), (226, 226, 214), (196, 150, 96)),
        leaves=((66, 132, 34), (88, 146, 40), (54, 112, 36)), grass=((120, 160, 52), (176, 166, 84)),
        asphalt=((94, 92, 94), (110, 104, 100)), pavement=((196, 180, 154), (186, 178, 166)),
        centre_line=(232, 180, 46),
    ),
    sun=(0.6, 0.85), ambient=(0.55, 0.66), warm=(0.05, 0.2), clouds=(0.0, 0.9), haze=(300.0, 800.0),
    sky=(*CLEAR, ((60, 104, 196), (236, 206, 170))), exposure=(1.0, 1.12), saturation=(1.2, 1.4),
    contrast=(1.05, 1.18),
    noise=(0.0, 0.8), lift=(0.0, 1.0),
)  # fmt: skip
_ANY = Look(
    colours=Colours(wild=0.35, spread=40), sun=(0.0, 0.9), ambient=(0.55, 0.9), elevation=(0.1, 0.7), warm=(0.0, 0.4),
    sky=(*CLEAR, *DULL, *DUSK, ((30, 60, 120), (120, 180, 230)), ((200, 180, 120), (240, 230, 200))),
    clouds=(0.0, 1.0),
    haze=(60.0, 800.0), exposure=(0.75, 1.3), saturation=(0.2, 1.9), contrast=(0.8, 1.35), lift=(0.0, 30.0), lamps=0.3,
    cast=((256, 256, 256), (290, 250, 210), (210, 250, 290), (250, 280, 230), (280, 230, 270)), cast_spread=20,
    vignette=(0.0, 0.5), noise=(0.0, 9.0), blur={0: 0.4, 1: 0.4, 2: 0.2}, chroma=0.4, mix=0.5,
)  # fmt: skip
WORLD_LOOKS = (
    _ANY, _ANY, _ANY,
    replace(_ANY, colours=Colours(wild=0.8, spread=60)),
    replace(_ANY, mix=0.0, colours=Colours(spread=25), saturation=(0.6, 1.3)),
    replace(_ANY, mix=0.0, colours=Colours(spread=25), saturation=(0.4, 1.0), contrast=(0.8, 1.1)),
    replace(_ANY, mix=0.2, haze=(20.0, 60.0), sun=(0.0, 0.1), ambient=(0.7, 0.9), clouds=(0.0, 0.1), sky=DULL),
    replace(_ANY, mix=0.3, ambient=(0.75, 1.0), night=(0.5, 0.8), lamps=1.0,
            exposure=(1.3, 1.8), noise=(2.0, 8.0), lift=(4.0, 20.0), contrast=(0.9, 1.2), blur={0: 0.2, 1: 0.8}),
    replace(_ANY, mix=0.2, night=(0.15, 0.5), lamps=1.0, exposure=(0.9, 1.3), sky=DUSK),
    replace(_ANY, mix=0.2, wet=(0.3, 1.0), streaks=0.6, drops=0.5, haze=(60.0, 250.0), sun=(0.0, 0.2), sky=DULL,
            lamps=0.6),
    replace(_ANY, mix=0.2, snow=(0.3, 1.0), flakes=0.6, sun=(0.0, 0.4), ambient=(0.6, 0.85), haze=(60.0, 300.0)),
)  # fmt: skip
_ALL_TREES = ("round", "tall", "broad", "conifer", "palm", "bare")
WORLD_LAYOUTS = tuple(
    replace(layout, bonnet=0.2, roll=0.03, tree_kinds=_ALL_TREES, hills=0.4, left_hand=0.4)
    for layout in (
        GAME, _GERMAN, _AMERICAN, _SUBURB, _BUSY, _ARTERIAL, _ON_FOOT, _FROM_ABOVE, _WIDE_ANGLE, _TELE,
        replace(_GERMAN, height=(0.9, 2.4), focal=(0.5, 0.95), pitch=(-0.04, 0.08), yaw=0.12, floors=(1, 9),
                setback=(0.0, 6.0), facades=("plaster", "brick", "concrete", "boards", "glass"), curve=0.003),
    )
)  # fmt: skip
