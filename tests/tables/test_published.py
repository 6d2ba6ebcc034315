"""Published figures: consistent with themselves, and found for the right protocol, backbone and method."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
import yaml

from benchmark import parameters, protocol
from benchmark.common import registry
from benchmark.data.labels import CITYSCAPES
from benchmark.models.catalogue import backbone_names
from benchmark.tables import published as papers
from benchmark.tables.paper import NUMBERS

OTHERS = yaml.safe_load(Path(papers.__file__).with_name("published.yaml").read_text(encoding="utf-8"))["others"]
DOMAINS = ("cityscapes", "bdd100k", "mapillary")
ODD = {(1, "CLIP (ViT-L)", "vqt")}
"""Printed averages that are not the mean of their row; each has an erratum."""


@pytest.mark.parametrize("number", [1, 2, 3])
def test_printed_averages_are_the_means_of_the_printed_figures(number: int) -> None:
    table = papers.layout(number)
    for group in table.groups:
        for method, figures in group.rows.items():
            *each, average = (value for value in figures[1:] if value is not None)
            off = abs(statistics.fmean(each) - average) > 0.1
            assert off == ((number, group.head, method) in ODD), (group.head, method)


@pytest.mark.parametrize("number", NUMBERS)
def test_every_row_is_a_method_with_a_figure_per_column(number: int) -> None:
    table = papers.layout(number)
    for group in table.groups:
        for method, figures in group.rows.items():
            assert method.removesuffix("+perturbed") in registry.names("method")
            assert papers.label(method)
            assert len(figures) == table.trained + len(table.columns)


def test_figures_of_other_papers_name_a_protocol_a_backbone_and_its_domains() -> None:
    for entry in OTHERS:
        name, _, variant = entry["protocol"].partition("@")
        assert set(entry["scored"]) <= {"trained", "average", *protocol.load(name, variant or None).targets}
        assert entry["backbone"] in backbone_names()
        for method, figures in entry["rows"].items():
            assert len(figures) == len(entry["scored"]), (entry["source"], method)


def test_averages_of_other_papers_are_the_means_of_their_figures() -> None:
    checked = 0
    for entry in OTHERS:
        for method, figures in entry["rows"].items():
            row = dict(zip(entry["scored"], figures, strict=True))
            if set(DOMAINS) <= set(row):
                assert abs(statistics.fmean(row[name] for name in DOMAINS) - row["average"]) <= 0.07, method
                checked += 1
    assert checked >= 11


def test_a_note_comes_with_the_figure() -> None:
    found = papers.find("gtav-to-cbm@full-test", "dinov2-l", "recyclelora", "bdd100k")
    assert found is not None
    assert len(found.errata) == 1
    assert "12,403" in found.errata[0]
    other = papers.find("gtav-to-cbm@full-test", "dinov2-l", "geco", "bdd100k")
    assert other is not None
    assert not other.errata


def test_classes_are_those_of_cityscapes() -> None:
    scored = [column.scored.removeprefix("class ") for column in papers.layout(2).columns]
    assert scored == [*CITYSCAPES, "average"]


def test_trainable_parameters_equal_those_of_the_parameter_table() -> None:
    elsewhere = {(each.method, each.backbone): float(each.millions) for each in parameters.published()
                 if each.source == "F"}  # fmt: skip
    for group in papers.layout(1).groups:
        for method, figures in group.rows.items():
            assert figures[0] == elsewhere[method, group.backbone]


@pytest.mark.parametrize(
    ("wanted", "value", "source"),
    [
        (("gtav-to-cbm@rein-test", "dinov2-l", "fishertune", "average"), 66.5, "FisherTune, CVPR 2025"),
        (("gtav-to-cbm@full-test", "dinov2-l", "fishertune", "mapillary"), 68.0, "Table 1"),
        (("gtav-to-cbm@rein-test", "dinov2-l", "freeze", "average"), 61.1, "Rein (Wei et al., CVPR 2024), Table 2"),
        (("gtav-to-cbm@full-test", "dinov2-l", "geco", "cityscapes"), 68.5, "GeCo"),
        (("gtav-to-cbm@full-test", "dinov2-l", "recyclelora", "average"), 68.95, "RecycleLoRA (CVPR 2026 Findings)"),
        (("gtav-to-cbm@full-test", "eva02-l", "recyclelora", "average"), 66.35, "RecycleLoRA"),
        (("gtav-to-cbm@rein-test", "dinov2-l", "causal-tune", "mapillary"), 68.21, "Causal-Tune"),
        (("gtav-to-cbm@rein-test", "dinov2-l", "sbgen", "average"), 70.11, "SBGen"),
        (("cityscapes-to-acdc@rein-test", "dinov2-l", "rein", "average"), 77.6, "Table 2"),
        (("cityscapes-to-adverse@rein-test", "dinov2-l", "full", "trained"), 304.2, "Table 3"),
    ],
)
def test_a_figure_is_found_with_its_source(wanted: tuple[str, str, str, str], value: float, source: str) -> None:
    found = papers.find(*wanted)
    assert found is not None
    assert found.value == value
    assert source in found.source


@pytest.mark.parametrize(
    "wanted",
    [
        ("gtav-to-cbm@rein-test", "dinov2-l", "geco", "cityscapes"),  # published for another test image size
        ("gtav-to-cbm@rein-test", "dinov2-l", "recyclelora", "average"),
        ("gtav-to-cbm@full-test", "dinov2-l", "causal-tune", "cityscapes"),
        ("gtav-to-cbm@rein-test", "dinov2-l", "lora[rank=4]", "average"),
        ("streets", "vit-tiny-streets", "full", "average"),
    ],
)
def test_no_figure_is_found_for_other_runs(wanted: tuple[str, str, str, str]) -> None:
    assert papers.find(*wanted) is None
