"""The target domains: places, seasons, light and cameras that neither the source nor ``world`` shows.

``overcast``: an old town with paved streets in late autumn, in dull light. ``dashcam``: a dry country with bleached
roads and adobe houses, by day, at dusk and at night, through a windscreen. ``worldwide``: four places, taken
with phones.
"""

from __future__ import annotations

from dataclasses import replace

from .finish import Finish
from .look import Look
from .palette import Colours
from .street import Layout
from .world import CLEAR, DULL, DUSK

# ---- overcast ------------------------------------------------------------------------------------------
_AUTUMN = Colours(
    walls=((120, 66, 56), (92, 98, 108), (206, 198, 176), (108, 112, 92), (142, 96, 74)),
    roofs=((62, 66, 76), (78, 70, 70), (96, 58, 50)),
    leaves=((190, 98, 36), (204, 146, 48), (152, 64, 42), (138, 116, 56)), grass=((150, 112, 62), (128, 116, 68)),
    asphalt=((158, 92, 70), (140, 96, 76), (136, 114, 92)), pavement=((92, 96, 104), (104, 98, 92)),
    centre_line=(186, 182, 168), lines=(186, 182, 168), bark=((52, 46, 44), (70, 60, 52)),
    paints=(((60, 64, 70), 3.0), ((120, 124, 128), 3.0), ((44, 70, 54), 2.0), ((46, 52, 84), 2.0),
            ((98, 72, 52), 1.5), ((146, 130, 104), 1.5), ((190, 186, 176), 1.0)),
    cabs=((60, 88, 74), (120, 60, 44), (92, 96, 104)), loads=((84, 78, 70), (120, 112, 92), (66, 82, 92)),
    buses=((92, 96, 64), (196, 190, 172), (104, 44, 48)), trams=((150, 128, 72), (78, 60, 70), (176, 172, 160)),
    clothes=((70, 62, 54), (44, 52, 60), (96, 80, 62), (60, 66, 56), (84, 50, 50), (54, 54, 58), (140, 122, 92),
             (176, 150, 60)),
    metals=((52, 60, 54), (44, 46, 50), (84, 76, 66)), fences=((48, 52, 46), (88, 66, 48), (64, 44, 40)),
)  # fmt: skip
OVERCAST_LOOK = Look(
    colours=_AUTUMN,
    finishes=(
        Finish("road", "stones", (0.35, 0.6), (0.25, 0.4)),
        Finish("pavement", "blotches", (1.0, 2.0), (0.15, 0.3)),
        Finish("soil", "blotches", (0.8, 1.6), (0.3, 0.5)),
        Finish("ground", "spots", (0.25, 0.4), (0.3, 0.9), ((186, 110, 44), (170, 78, 40), (200, 156, 60))),
        Finish("wall", "beams", (1.6, 2.4), (0.0, 0.9), ((58, 42, 34),)),
        Finish("wall", "streaks", (0.8, 1.6), (0.2, 0.4)),
        Finish("leaf", "blotches", (0.7, 1.2), (0.25, 0.45)),
        Finish("vehicle", "blotches", (0.6, 1.2), (0.1, 0.25)),
    ),
    sun=(0.0, 0.1), ambient=(0.72, 0.9),
    sky=(((112, 112, 120), (150, 142, 134)), ((136, 126, 116), (170, 158, 140)), ((96, 104, 118), (136, 140, 146))),
    clouds=(0.2, 0.6), haze=(90.0, 260.0), exposure=(0.85, 1.08), saturation=(0.7, 0.95), contrast=(0.9, 1.05),
    cast=((250, 256, 262), (258, 256, 246)), lift=(4.0, 12.0), vignette=(0.05, 0.2), noise=(1.5, 3.5),
    blur={0: 0.6, 1: 0.4}, dark=(0.0, 0.15),
)  # fmt: skip

# ---- dashcam -------------------------------------------------------------------------------------------
DESERT = Colours(
    walls=((208, 140, 108), (226, 176, 144), (124, 168, 160), (236, 218, 194), (176, 104, 82)),
    roofs=((190, 110, 78), (206, 190, 168), (150, 140, 132)),
    leaves=((84, 108, 100), (96, 104, 74), (70, 92, 88)), grass=((208, 178, 130), (192, 152, 108)),
    asphalt=((208, 196, 178), (192, 178, 162), (176, 160, 148)), pavement=((166, 104, 86), (150, 116, 100)),
    centre_line=(222, 150, 40), lines=(238, 234, 214), bark=((150, 128, 104), (110, 88, 70)),
    paints=(((236, 190, 40), 3.0), ((236, 236, 232), 3.0), ((24, 24, 28), 3.0), ((196, 96, 40), 1.5),
            ((64, 150, 160), 1.5), ((150, 116, 84), 1.5)),
    cabs=((226, 120, 44), (240, 236, 224), (40, 132, 140)), loads=((196, 192, 186), (214, 150, 60), (100, 60, 50)),
    buses=((150, 108, 76), (60, 120, 130), (200, 180, 150)), trams=((120, 40, 60), (214, 206, 190), (70, 130, 140)),
    clothes=((230, 226, 214), (60, 90, 130), (196, 170, 130), (40, 40, 44), (150, 64, 50), (110, 130, 150),
             (240, 140, 40), (60, 150, 150)),
    metals=((176, 168, 156), (150, 104, 72), (200, 198, 192)), fences=((176, 120, 80), (214, 204, 190), (96, 150, 146)),
)  # fmt: skip
DASHCAM_LOOK = Look(
    colours=DESERT,
    finishes=(
        Finish("road", "patches", (3.0, 5.0), (0.15, 0.3), ((84, 80, 80), (110, 104, 100)), 2.0),
        Finish("road", "cracks", (2.0, 3.5), (0.2, 0.35)),
        Finish("pavement", "stones", (0.5, 0.8), (0.075, 0.175)),
        Finish("soil", "blotches", (1.5, 3.0), (0.1, 0.175)),
        Finish("soil", "spots", (1.2, 2.0), (0.25, 0.45), ((120, 116, 84), (146, 112, 78))),
        Finish("wall", "blotches", (2.0, 3.5), (0.05, 0.125)),
        Finish("leaf", "spots", (0.4, 0.7), (0.15, 0.3), ((196, 184, 140), (92, 96, 76))),
        Finish("vehicle", "streaks", (0.5, 1.0), (0.05, 0.15)),
    ),
    sun=(0.5, 0.9), ambient=(0.45, 0.6), elevation=(0.08, 0.3), warm=(0.15, 0.4),
    sky=(((176, 132, 120), (240, 190, 120)), ((120, 120, 150), (226, 172, 150)), ((96, 150, 156), (214, 204, 150))),
    clouds=(0.0, 0.5), haze=(140.0, 500.0), exposure=(0.85, 1.1), saturation=(0.7, 1.0), contrast=(1.0, 1.25),
    cast=((262, 254, 240), (252, 254, 258)), lift=(2.0, 12.0), vignette=(0.1, 0.3), noise=(1.5, 3.5),
    blur={0: 0.8, 1: 0.2}, chroma=1.0, veil=(0.0, 0.12), compress=(0.2, 1.0),
)  # fmt: skip
DASHCAM_DUSK = replace(
    DASHCAM_LOOK, sun=(0.0, 0.15), ambient=(0.6, 0.75), night=(0.2, 0.38), lamps=1.0,
    sky=(((70, 60, 110), (236, 140, 90)), ((40, 56, 96), (220, 170, 130)), *DUSK), warm=(0.3, 0.5), clouds=(0.0, 0.7),
    exposure=(0.95, 1.15), dark=(0.0, 0.2), noise=(2.0, 4.0),
)  # fmt: skip
DASHCAM_NIGHT = replace(
    DASHCAM_LOOK, sun=(0.0, 0.05), ambient=(0.8, 0.95), night=(0.55, 0.7), lamps=1.0, exposure=(1.4, 1.75),
    clouds=(0.0, 0.2), noise=(3.0, 6.0), cast=((286, 250, 206), (276, 252, 220)), lift=(2.0, 10.0), veil=(0.0, 0.15),
    blur={0: 0.5, 1: 0.5},
)  # fmt: skip

# ---- worldwide -----------------------------------------------------------------------------------------
_TROPICAL = Colours(
    walls=((70, 120, 186), (226, 104, 142), (238, 198, 76), (80, 172, 150), (236, 140, 70)),
    roofs=((150, 156, 156), (176, 84, 60), (90, 120, 110)),
    leaves=((30, 96, 78), (44, 112, 66), (24, 78, 70)), grass=((70, 124, 60), (168, 98, 62)),
    asphalt=((178, 98, 64), (164, 110, 78), (150, 92, 70)), pavement=((124, 128, 108), (176, 132, 104)),
    centre_line=(240, 236, 226), lines=(240, 236, 226), bark=((120, 106, 88),),
    paints=(((44, 140, 90), 2.0), ((236, 120, 30), 2.0), ((236, 232, 224), 2.0), ((40, 90, 170), 2.0),
            ((200, 40, 90), 1.5), ((238, 204, 60), 1.5)),
    cabs=((236, 90, 40), (40, 110, 190), (240, 200, 50)), loads=((220, 80, 60), (60, 140, 180), (240, 190, 70)),
    buses=((40, 150, 170), (236, 80, 120), (150, 200, 60)), trams=((40, 120, 90), (236, 150, 60), (90, 70, 150)),
    clothes=((230, 90, 120), (60, 150, 160), (240, 180, 50), (120, 60, 140), (236, 232, 220), (50, 110, 70),
             (220, 60, 40)),
    metals=((96, 130, 130), (160, 150, 130), (120, 86, 66)), fences=((60, 140, 150), (200, 190, 170), (170, 80, 60)),
    spread=18,
)  # fmt: skip
_WHITE_TOWN = Colours(
    walls=((244, 240, 230), (236, 226, 206), (226, 232, 236), (214, 196, 160)),
    roofs=((60, 110, 180), (206, 140, 96), (232, 228, 220)),
    leaves=((112, 128, 92), (92, 108, 76), (120, 132, 104)), grass=((186, 164, 112), (204, 190, 150)),
    asphalt=((206, 194, 168), (186, 178, 166), (216, 206, 190)), pavement=((140, 134, 130), (176, 120, 92)),
    centre_line=(110, 106, 104), lines=(120, 116, 112), bark=((130, 116, 100),),
    paints=(((150, 196, 214), 2.0), ((226, 214, 180), 2.0), ((200, 70, 50), 1.5), ((70, 84, 96), 1.5),
            ((120, 150, 110), 1.5)),
    cabs=((90, 150, 190), (226, 214, 180)), loads=((176, 150, 110), (230, 226, 216)),
    buses=((60, 120, 190), (200, 60, 60)),
    trams=((40, 90, 150), (226, 200, 150)), metals=((40, 90, 150), (190, 184, 172)),
    fences=((236, 234, 228), (60, 120, 180)), spread=14,
)  # fmt: skip
_MEGACITY = Colours(
    walls=((148, 158, 150), (190, 160, 160), (112, 124, 134), (170, 176, 168), (204, 190, 150)),
    roofs=((70, 110, 150), (60, 120, 90), (120, 122, 124)),
    leaves=((54, 74, 60), (70, 84, 52), (44, 62, 56)), grass=((96, 100, 82), (120, 110, 88)),
    asphalt=((60, 62, 74), (70, 74, 78), (54, 62, 64)), pavement=((196, 150, 140), (150, 160, 166), (200, 178, 120)),
    centre_line=(226, 120, 40), lines=(214, 220, 224), bark=((80, 76, 74),),
    paints=(((226, 110, 160), 2.5), ((60, 170, 90), 2.0), ((70, 120, 200), 2.0), ((236, 236, 236), 2.0),
            ((240, 190, 60), 1.5), ((110, 70, 130), 1.0)),
    cabs=((60, 150, 120), (230, 230, 226), (90, 110, 190)), loads=((60, 100, 160), (190, 196, 200), (90, 150, 110)),
    buses=((120, 190, 70), (120, 80, 160), (226, 226, 230)), trams=((190, 70, 120), (70, 160, 170)),
    metals=((160, 170, 160), (90, 120, 110)), fences=((190, 196, 200), (70, 150, 110), (214, 170, 60)), spread=16,
)  # fmt: skip
_BLOSSOM = Colours(
    walls=((150, 60, 52), (180, 130, 70), (96, 120, 110), (206, 200, 186), (80, 84, 96)),
    roofs=((50, 54, 60), (110, 60, 50)),
    leaves=((226, 160, 186), (236, 186, 202)), grass=((170, 166, 110), (140, 150, 96)),
    asphalt=((148, 148, 156), (134, 138, 146)), pavement=((92, 84, 84), (120, 108, 98)),
    centre_line=(206, 206, 200), lines=(216, 216, 210), bark=((60, 48, 48),),
    paints=(((150, 30, 60), 2.0), ((40, 100, 110), 2.0), ((200, 206, 210), 2.0), ((90, 110, 60), 1.5),
            ((60, 50, 80), 1.5)),
    cabs=((40, 100, 110), (200, 60, 70)), loads=((110, 130, 150), (206, 190, 160)),
    buses=((150, 30, 60), (90, 150, 160)), trams=((60, 110, 70), (206, 196, 170)),
    metals=((70, 80, 90), (130, 60, 50)), fences=((150, 110, 80), (96, 104, 110)), spread=14,
)  # fmt: skip
_PHONE = Look(
    sun=(0.2, 0.6), ambient=(0.62, 0.78), warm=(0.0, 0.25), sky=(*CLEAR, *DULL), clouds=(0.0, 0.9),
    haze=(120.0, 600.0), exposure=(0.8, 1.1), saturation=(0.75, 1.1), contrast=(0.9, 1.2), lift=(0.0, 12.0),
    vignette=(0.1, 0.4), noise=(1.5, 3.5), blur={0: 0.8, 1: 0.2}, chroma=0.8, compress=(0.2, 1.0),
    cast=((266, 256, 240), (244, 256, 268), (258, 254, 258)), cast_spread=8,
)  # fmt: skip
WORLDWIDE_LOOKS = (
    replace(
        _PHONE, colours=_TROPICAL, sky=(((70, 110, 116), (160, 176, 150)), ((120, 112, 140), (190, 160, 160))),
        finishes=(
            Finish("road", "blotches", (1.2, 2.5), (0.125, 0.225)),
            Finish("pavement", "patches", (1.0, 2.0), (0.15, 0.3), ((90, 110, 70), (140, 90, 60))),
            Finish("ground", "dapple", (1.0, 2.0), (0.1, 0.225)),
            Finish("wall", "streaks", (0.7, 1.4), (0.125, 0.225)),
            Finish("leaf", "spots", (0.5, 0.9), (0.15, 0.4), ((226, 60, 110), (150, 196, 60), (250, 190, 60))),
            Finish("fence", "blotches", (0.5, 1.0), (0.1, 0.2)),
        ),
    ),
    replace(
        _PHONE, colours=_WHITE_TOWN, sun=(0.5, 0.85), ambient=(0.5, 0.65), exposure=(0.75, 0.95),
        finishes=(
            Finish("road", "stones", (0.7, 1.1), (0.05, 0.125)),
            Finish("pavement", "stones", (0.3, 0.5), (0.125, 0.2)),
            Finish("soil", "stones", (0.5, 0.9), (0.1, 0.2)),
            Finish("wall", "cracks", (1.5, 3.0), (0.1, 0.2)),
            Finish("wall", "patches", (1.6, 2.6), (0.15, 0.3), ((70, 120, 186), (196, 170, 130))),
            Finish("leaf", "blotches", (0.5, 0.9), (0.125, 0.225)),
        ),
    ),
    replace(
        _PHONE, colours=_MEGACITY, sun=(0.0, 0.2),
        sky=(((150, 132, 100), (186, 164, 124)), ((112, 110, 104), (150, 146, 132))), haze=(70.0, 200.0),
        dark=(0.0, 0.3),
        finishes=(
            Finish("road", "patches", (2.5, 4.0), (0.1, 0.3), ((70, 120, 84), (130, 70, 60), (90, 92, 98)), 3.0),
            Finish("road", "blotches", (0.8, 1.6), (0.075, 0.15)),
            Finish("pavement", "stones", (0.4, 0.7), (0.1, 0.2)),
            Finish("wall", "boards", (0.5, 0.9), (0.075, 0.15)),
            Finish("wall", "patches", (1.2, 2.2), (0.25, 0.45),
                   ((220, 60, 50), (240, 200, 60), (60, 130, 200), (230, 230, 226))),
            Finish("vehicle", "patches", (0.8, 1.4), (0.15, 0.35), ((240, 240, 236), (220, 60, 50), (50, 90, 170))),
        ),
    ),
    replace(
        _PHONE, colours=_BLOSSOM, sun=(0.05, 0.4),
        sky=(((150, 130, 160), (226, 196, 200)), ((112, 130, 150), (170, 180, 186))),
        finishes=(
            Finish("road", "cracks", (1.5, 3.0), (0.15, 0.3)),
            Finish("road", "streaks", (0.6, 1.2), (0.05, 0.125), (), 8.0),
            Finish("ground", "spots", (0.2, 0.35), (0.15, 0.4), ((240, 206, 214), (226, 170, 190))),
            Finish("wall", "boards", (0.3, 0.5), (0.1, 0.2)),
            Finish("leaf", "blotches", (0.6, 1.0), (0.075, 0.15)),
            Finish("soil", "blotches", (0.6, 1.2), (0.125, 0.225)),
        ),
    ),
)  # fmt: skip

# ---- adverse conditions in the town of `overcast` -----------------------------------------------------------
FOG = replace(
    OVERCAST_LOOK, sun=(0.0, 0.08), ambient=(0.85, 0.98), haze=(20.0, 45.0), clouds=(0.0, 0.0), lamps=0.5,
    contrast=(0.95, 1.1), exposure=(0.86, 1.02), dark=(0.0, 0.0),
    sky=(((206, 210, 210), (208, 212, 210)), ((188, 194, 198), (194, 200, 202))),
)  # fmt: skip
NIGHT = replace(
    OVERCAST_LOOK, sun=(0.0, 0.05), ambient=(0.85, 1.0), night=(0.68, 0.82), lamps=1.0, exposure=(1.45, 1.8),
    clouds=(0.0, 0.2), noise=(3.0, 7.0), dark=(0.0, 0.0),
    cast=((272, 252, 226), (262, 256, 246), (250, 256, 262)), lift=(4.0, 12.0), blur={1: 1.0}, contrast=(0.95, 1.1),
)  # fmt: skip
RAIN = replace(
    OVERCAST_LOOK, sun=(0.0, 0.08), ambient=(0.68, 0.82), haze=(60.0, 140.0), wet=(0.5, 1.0), exposure=(0.95, 1.12),
    streaks=0.7, drops=0.7, lamps=0.7, sky=(((150, 156, 162), (176, 182, 184)), ((176, 180, 184), (196, 200, 200))),
    cast=((246, 256, 262), (250, 258, 252)), blur={1: 1.0},
)  # fmt: skip
SNOW = replace(
    OVERCAST_LOOK, sun=(0.0, 0.15), ambient=(0.7, 0.85), haze=(60.0, 160.0), snow=(0.55, 1.0), exposure=(1.0, 1.16),
    contrast=(0.95, 1.1), flakes=0.7, lamps=0.4, dark=(0.0, 0.0), sky=(((198, 204, 210), (216, 220, 224)),),
    cast=((250, 256, 264), (256, 256, 256)),
)  # fmt: skip
DASHCAM_LOOKS = (DASHCAM_LOOK, DASHCAM_LOOK, DASHCAM_LOOK, DASHCAM_DUSK, DASHCAM_NIGHT)

# ---- layouts -------------------------------------------------------------------------------------------
# More objects near the camera than in the source, since the finishes make small ones harder to see.
_NEAR = {
    "person": 0.95, "cyclist": 0.65, "motorcyclist": 0.5, "bicycle": 0.65, "motorcycle": 0.5, "light": 0.7, "sign": 0.8,
    "truck": 0.42, "bus": 0.36,
}  # fmt: skip
_NEARER = {**_NEAR, "person": 1.0, "truck": 0.55, "bus": 0.48, "light": 0.85, "sign": 0.9, "cyclist": 0.8}
_OLD_TOWN = Layout(
    height=(1.35, 1.6), yaw=0.05, pitch=(0.02, 0.06), focal=(0.70, 0.84), bonnet=0.9, lanes={1: 1.0},
    lane_width=(2.6, 3.0), curve=0.0035, junction=0.45, parking=0.65, pavement=(1.3, 2.4), verge=0.1,
    setback=(0.0, 1.0), frontage={"house": 6.0, "wall": 2.6, "fence": 2.2, "park": 0.8, "hedge": 0.5}, floors=(2, 5),
    facades=("brick", "plaster", "brick"), roofs=("front", "steps", "mansard", "front"),
    fronts=("none", "bay", "tower", "none"), windows=0.34, widths=(5, 6, 7, 9), shop=0.5, trees=0.65,
    tree_kinds=("poplar", "layered", "weeping"), tree_size=0.9, traffic=(8.0, 18.0),
    fleet={"car": 8.0, "truck": 1.4, "bus": 1.4, "motorcycle": 1.0, "bicycle": 2.6},
    bodies=("old", "tiny", "minibus", "estate"), trucks=("tall", "tipper", "tarp"),
    poses=("umbrella", "walk", "robe", "back"), fences=("pales", "bars", "screen"), walls=("rubble", "brick"),
    signs=("order", "town", "priority", "noentry", "chevron", "parking"), arm_lights=0.1, tram=0.4, hills=0.1, stalls=2,
    near=_NEAR,
)  # fmt: skip
OVERCAST = (_OLD_TOWN,)
WINTER = (replace(_OLD_TOWN, tree_kinds=("bare", "layered", "bare", "poplar")),)
_AVENUE = Layout(
    height=(1.25, 1.75), yaw=0.05, pitch=(-0.03, 0.02), roll=0.012, focal=(0.68, 0.82), bonnet=0.35,
    lanes={1: 0.5, 2: 0.4, 3: 0.1}, lane_width=(3.4, 3.8), curve=0.0008, junction=0.5, parking=0.7,
    pavement=(2.2, 4.0), verge=0.5, setback=(0.0, 3.0), median=(1.2, 2.4),
    frontage={"house": 5.0, "wall": 2.8, "fence": 3.6, "park": 1.4, "hedge": 0.3}, floors=(2, 4),
    facades=("plaster", "plaster", "concrete"), roofs=("lean", "flat", "dome", "lean"),
    fronts=("arcade", "porch", "none", "terraces"), windows=0.28, widths=(12, 15, 18), shop=0.4, trees=0.7,
    tree_kinds=("umbrella", "scrub", "umbrella"), tree_size=1.0, traffic=(7.0, 16.0),
    fleet={"car": 8.0, "truck": 2.2, "bus": 1.6, "motorcycle": 1.2, "bicycle": 0.8},
    bodies=("coupe", "offroad", "pickup", "minibus"), trucks=("container", "tipper", "bed"),
    poses=("robe", "stand", "stride"), fences=("guard", "screen", "mesh"), walls=("panels", "plaster"),
    signs=("shield", "chevron", "diamond", "stop", "direction", "town"), wooden_poles=0.6, arm_lights=0.9, hills=0.8,
    near=_NEARER, tram=0.35,
)  # fmt: skip
DASHCAM = (_AVENUE, replace(_AVENUE, median=(0.0, 0.0), lanes={1: 0.6, 2: 0.4}, setback=(0.0, 2.0), floors=(1, 3)))
_MARKET = Layout(
    height=(1.4, 1.9), yaw=0.05, pitch=(-0.03, 0.04), roll=0.015, focal=(0.66, 0.82), left_hand=0.7,
    pavement_view=0.15, lanes={1: 0.7, 2: 0.3}, lane_width=(2.7, 3.1), curve=0.002, parking=0.6, pavement=(2.2, 4.4),
    verge=0.2, setback=(0.0, 2.0), floors=(2, 4), facades=("boards", "plaster", "plaster"),
    roofs=("lean", "dome", "mansard"),
    fronts=("porch", "balconies", "arcade"), windows=0.6, widths=(6, 8, 11), shop=0.8, trees=0.6,
    tree_kinds=("weeping", "poplar", "umbrella"), tree_size=1.1, traffic=(6.0, 13.0),
    fleet={"car": 6.0, "truck": 1.6, "bus": 1.6, "motorcycle": 3.0, "bicycle": 2.0},
    bodies=("tiny", "minibus", "old", "tiny"), trucks=("tall", "bed", "container"),
    poses=("robe", "umbrella", "dress", "walk"), fences=("pales", "screen", "guard"), walls=("rubble", "panels"),
    frontage={"house": 5.0, "wall": 2.2, "fence": 2.6, "park": 1.2, "hedge": 0.6},
    signs=("order", "shield", "town", "plate", "chevron"), wooden_poles=0.7, stalls=2, tram=0.45,
    near=_NEARER,
)  # fmt: skip
_TERRACES = replace(
    _MARKET, pavement_view=0.3, height=(1.5, 1.8), focal=(0.64, 0.78), pavement=(2.8, 5.0), left_hand=0.2,
    floors=(1, 3),
    roofs=("flat", "dome"), fronts=("terraces", "arcade", "none"), windows=0.25, widths=(7, 9, 13), curve=0.004,
    facades=("plaster",), tree_kinds=("umbrella", "poplar", "scrub"), shop=0.3, bodies=("old", "tiny", "coupe"),
    wooden_poles=0.2, stalls=2,
)  # fmt: skip
_TOWERS = replace(
    _MARKET, pavement_view=0.0, height=(2.0, 2.8), pitch=(0.02, 0.06), focal=(0.64, 0.78), lanes={2: 0.7, 1: 0.3},
    floors=(5, 12),
    roofs=("flat", "lean"), fronts=("balconies", "balconies", "bay"), windows=0.64, widths=(9, 11, 16),
    median=(1.2, 2.2),
    facades=("concrete", "plaster", "boards"), tree_kinds=("umbrella", "poplar"), tree_size=1.0,
    bodies=("minibus", "tiny", "coupe", "offroad"), wooden_poles=0.3,
)  # fmt: skip
_VILLAGE = replace(
    _MARKET, pavement_view=0.1, lanes={1: 1.0}, pavement=(1.4, 2.6), verge=0.9, setback=(1.0, 6.0), floors=(1, 2),
    left_hand=0.4,
    roofs=("front", "mansard", "front"), fronts=("porch", "bay"), windows=0.45, widths=(7, 10, 14), focal=(0.62, 0.9),
    shop=0.2,
    facades=("boards", "brick"), tree_kinds=("weeping", "poplar", "umbrella"), hills=0.9,
    bodies=("old", "offroad", "estate"),
    stalls=1, frontage={"house": 4.0, "wall": 2.0, "fence": 3.0, "park": 2.0, "hedge": 1.0},
)  # fmt: skip
WORLDWIDE = (_MARKET, _TERRACES, _TOWERS, _VILLAGE)
