"""Label ids, materials, textures and palette slots used by the object builders."""

from __future__ import annotations

# Cityscapes label ids (cityscapesScripts, helpers/labels.py).
EGO, STATIC, ROAD, SIDEWALK, BUILDING, WALL, FENCE = 1, 4, 7, 8, 11, 12, 13
POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN, VEGETATION, TERRAIN, SKY = 17, 19, 20, 21, 22, 23
PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE = 24, 25, 26, 27, 28, 31, 32, 33

# Surface materials. Almost all of them occur in several classes, and most classes have several materials.
MATERIALS: tuple[str, ...] = (
    "air", "asphalt", "paint", "paving", "masonry", "plaster", "concrete", "roof tile", "glass", "rubber",
    "cloth", "skin", "metal panel", "bare metal", "plastic", "wood", "foliage", "grass", "soil", "light",
)  # fmt: skip
(
    AIR, ASPHALT, PAINT, PAVING, MASONRY, PLASTER, CONCRETE, TILE, GLASS, RUBBER,
    CLOTH, SKIN, PANEL, METAL, PLASTIC, WOOD, FOLIAGE, GRASS, SOIL, LIGHT,
) = range(len(MATERIALS))  # fmt: skip
NO_MATERIAL = 255

# Procedural textures, evaluated per pixel in surface coordinates (metres).
PLAIN, WINDOWS, SHOPS, BLOCKS, LEAVES, RIBS = range(6)

# Palette slots: 0-7 differ between objects (drawn with the appearance), the others are the same for all objects.
OWN = 8
BLACK, WINDOW, CHROME, PLATE, HEADLAMP, TAILLAMP, AMBER, DARK, WHITE, RED, GREEN, BLUE, YELLOW, GREY, BROWN, LAMP = (
    range(OWN, OWN + 16)
)
COMMON: tuple[tuple[int, int, int], ...] = (
    (26, 26, 29), (58, 70, 82), (150, 152, 156), (228, 226, 210), (250, 246, 222), (196, 22, 20),
    (250, 160, 30), (48, 48, 52), (236, 236, 234), (198, 26, 28), (30, 190, 80), (24, 74, 164),
    (240, 198, 30), (128, 128, 128), (112, 78, 48), (255, 236, 190),
)  # fmt: skip
