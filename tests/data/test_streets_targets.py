"""The domains: all classes in each, and targets that neither the source nor `world` shows."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from benchmark.data import streets
from benchmark.data.labels import CITYSCAPES, lut
from benchmark.data.streets.look import Look
from tests.data.conftest import Street

pytestmark = pytest.mark.slow

TARGETS = ("overcast", "dashcam", "worldwide")


@pytest.mark.parametrize("domain", streets.DOMAINS)
def test_every_class_is_frequent_enough_in_every_domain(domain: str, street: Street) -> None:
    table = lut("cityscapes_label_ids")
    labels = [street(domain, seed).label for seed in range(40)]
    counts = np.array([np.bincount(table[label].ravel(), minlength=256)[:19] for label in labels])
    in_few_images = {CITYSCAPES[k]: f for k, f in enumerate((counts >= 20).mean(axis=0)) if f < 0.10}
    assert not in_few_images
    few_pixels = {CITYSCAPES[k]: f for k, f in enumerate(counts.mean(axis=0) / (128 * 256)) if f < 0.0015}
    assert not few_pixels


def test_most_materials_of_world_occur_in_several_classes(street: Street) -> None:
    table = lut("cityscapes_label_ids")
    pixels = np.zeros((len(streets.MATERIALS), 256), np.int64)
    for frame in (street("world", seed) for seed in range(40)):  # what the foundation model is pre-trained on
        both = frame.material.astype(np.int64) * 256 + table[frame.label]
        pixels += np.bincount(both.ravel(), minlength=pixels.size).reshape(pixels.shape)
    fractions = pixels[:, :19] / np.maximum(pixels[:, :19].sum(axis=1, keepdims=True), 1)
    several = {streets.MATERIALS[k] for k in range(len(fractions)) if (fractions[k] > 0.01).sum() > 1}
    assert several >= {
        "glass", "rubber", "metal panel", "bare metal", "plastic", "cloth", "concrete", "wood", "masonry", "light",
        "paint", "asphalt", "plaster", "skin", "soil",
    }  # fmt: skip


def _values(looks: tuple[Look, ...]) -> set[object]:
    """Return the palettes of the looks, as sets of colours by kind."""
    kinds = ("walls", "roofs", "leaves", "grass", "asphalt", "pavement")
    return {(kind, colour) for look in looks for kind in kinds for colour in getattr(look.colours, kind)}


@pytest.mark.parametrize("target", TARGETS)
def test_world_and_source_show_no_layout_palette_or_texture_of_a_target(target: str) -> None:
    known = (streets.DOMAINS["world"], streets.DOMAINS["game"])
    chosen = streets.DOMAINS[target]
    for domain in known:
        assert not any(look.finishes for look in domain.looks)
        assert not _values(domain.looks) & _values(chosen.looks)
        for layout in chosen.layouts:
            assert layout not in domain.layouts
            for other in domain.layouts:
                for part in ("roofs", "fronts", "poses", "trucks"):
                    assert getattr(layout, part) != getattr(other, part)
                assert not set(layout.tree_kinds) <= set(other.tree_kinds)
    assert all(look.finishes for look in chosen.looks)


def test_targets_differ_from_each_other() -> None:
    for one, other in combinations(TARGETS, 2):
        a, b = streets.DOMAINS[one], streets.DOMAINS[other]
        assert not any(layout in b.layouts for layout in a.layouts)
        assert not _values(a.looks) & _values(b.looks)
        assert not {each for look in a.looks for each in look.finishes} & {
            each for look in b.looks for each in look.finishes
        }


def test_adverse_domains_show_the_town_of_overcast() -> None:
    town = streets.DOMAINS["overcast"]
    for name in ("fog", "night", "rain", "snow"):
        domain = streets.DOMAINS[name]
        assert {look.colours for look in domain.looks} == {town.looks[0].colours}
        assert {look.finishes for look in domain.looks} == {town.looks[0].finishes}
        assert [replace(layout, tree_kinds=()) for layout in domain.layouts] == [
            replace(town.layouts[0], tree_kinds=())
        ]


def test_domains_never_share_a_street(street: Street) -> None:
    seen: dict[bytes, tuple[str, int]] = {}
    for domain in streets.DOMAINS:
        for seed in range(3):
            key = street(domain, seed).label.tobytes()
            assert key not in seen, f"{domain} {seed} is {seen.get(key)}"
            seen[key] = (domain, seed)
