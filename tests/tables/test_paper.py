"""FisherTune's tables from records: rows, columns, cells, marks, errors, and compiling with pdfLaTeX."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from benchmark import protocol, tables
from benchmark.common.errors import UserError
from benchmark.records import Record
from benchmark.tables import Cell, Row, Table, paper
from benchmark.tables import published as papers
from benchmark.tables.paper import NUMBERS
from tests.tables.latex import compiled
from tests.tables.made import kept


def build(number: int, found: list[Record], **options: Any) -> Table:
    """Return the table, or its last part."""
    return paper.build(number, found, **options)[-1]


def heads(table: Table) -> list[str]:
    return [column.head for column in table.columns]


def row(table: Table, group: str, method: str) -> Row:
    (found,) = (each for each in table.rows if group in each.group and each.method == method)
    return found


def cell(table: Table, group: str, method: str, head: str) -> Cell:
    return row(table, group, method).cells[heads(table).index(head)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Runs for every table, each incomplete; the cells of Table 4 differ in their number of seeds."""
    root = tmp_path_factory.mktemp("records")
    made = []
    for method, accuracy in {"full": 0.6, "freeze": 0.7, "rein": 0.7, "fishertune": 0.9}.items():
        made += kept(root, "gtav-to-cbm", "dinov2-l", method, accuracy=accuracy)
        made += kept(root, "cityscapes-to-bdd", "dinov2-l", method, accuracy=accuracy)
        made += kept(root, "cityscapes-to-acdc", "dinov2-l", method, 3, accuracy)
        made += kept(root, "cityscapes-to-adverse", "dinov2-l", method, accuracy=accuracy)
    made += kept(root, "gtav-to-cbm", "eva02-l", "rein+perturbed", 1)
    made += kept(root, "cityscapes-to-bdd", "dinov2-l", "fim-variational", 1)
    return made


# -- rows, columns, cells ------------------------------------------------------------------------------


def test_table_1_has_the_papers_rows_and_columns_in_its_order(found: list[Record]) -> None:
    table = build(1, found)
    assert heads(table) == ["Trainable (M)", "Cityscapes", "BDD100K", "Mapillary", "Avg.", "n"]
    groups = ["CLIP (ViT-L)", "MAE (ViT-L)", "SAM (ViT-H)", "EVA02 (ViT-L)", "DINOv2 (ViT-L)"]
    assert list(dict.fromkeys(each.group for each in table.rows)) == groups
    small = ["full", "freeze", "lora", "vpt", "rein", "vqt", "childtune-d", "fishertune"]
    large = ["full", "lora", "adaptformer", "vqt", "rein", "childtune-d", "fishertune"]
    assert [each.method for each in table.rows if each.group == groups[0]] == small
    assert [each.method for each in table.rows if each.group == groups[4]] == large


def test_tables_2_to_5_have_the_papers_columns(found: list[Record]) -> None:
    assert heads(build(2, found))[1:20:18] == ["road", "bicy."]
    groups = [list(dict.fromkeys(each.group for each in part.rows)) for part in paper.build(2, found)]
    assert groups == [
        ["Cityscapes → BDD100K, DINOv2 (ViT-L)", "Cityscapes → BDD100K, EVA02 (ViT-L)"],
        ["Cityscapes → ACDC, DINOv2 (ViT-L)", "Cityscapes → ACDC, EVA02 (ViT-L)"],
    ]
    assert heads(build(3, found))[1:-1] == [
        "Foggy Zurich", "Foggy Driving", "Dark Zurich", "Nighttime Driving", "ACDC-Rain", "ACDC-Snow", "Avg.",
    ]  # fmt: skip
    table = build(4, found)
    assert heads(table) == ["BDD100K", "ACDC", "n"]
    assert [each.label for each in table.rows if "DINOv2" in each.group] == [
        "Full", "Freeze", "Random", "Random Q", "Random K", "Random V", "F", "ΔF", "FisherTune",
    ]  # fmt: skip
    table = build(5, found)
    assert heads(table) == ["EVA02-L", "DINOv2-L", "n"]
    assert [each.method for each in table.rows[:4]] == ["adaptformer", "adaptformer+perturbed", "vpt", "vpt+perturbed"]


def test_cells_are_means_over_seeds_and_empty_without_runs(found: list[Record]) -> None:
    table = build(1, found)
    runs = [each for each in found if each.protocol == "gtav-to-cbm@rein-test" and each.method == "rein"]
    scores = [100 * each.targets["bdd100k"].miou for each in runs if each.backbone == "dinov2-l"]
    made = cell(table, "DINOv2", "rein", "BDD100K")
    assert made.mean == pytest.approx(statistics.fmean(scores))
    assert made.spread == pytest.approx(statistics.stdev(scores))
    assert cell(table, "DINOv2", "rein", "Trainable (M)").mean == pytest.approx(0.294912)
    assert row(table, "DINOv2", "rein").cells[-1] == Cell(2)
    assert row(table, "CLIP", "rein").cells == (*[Cell()] * 5, Cell(0))


def test_a_class_cell_is_the_mean_over_the_domains(found: list[Record]) -> None:
    table = build(2, found)
    runs = [each for each in found if each.protocol == "cityscapes-to-acdc@rein-test" and each.method == "full"]
    assert len(runs[0].targets) == 4
    expected = statistics.fmean(100 * (score.iou[2] or 0) for run in runs for score in run.targets.values())
    assert cell(table, "ACDC, DINOv2", "full", "sky").mean == pytest.approx(expected)
    assert cell(table, "ACDC, DINOv2", "full", "fence") == Cell()  # the synthetic records have three classes


def test_cells_with_fewer_runs_show_their_number(found: list[Record]) -> None:
    table = build(4, found)
    made = row(table, "DINOv2", "full")
    assert made.cells[2] == Cell(3)
    assert (made.cells[0].aside, made.cells[1].aside) == (" (2)", "")
    assert "± 0" in tables.markdown(table)
    assert row(table, "DINOv2", "fim-variational").cells[2] == Cell(1)


def test_the_second_childtune_has_a_row_if_it_has_runs(tmp_path: Path) -> None:
    runs = kept(tmp_path, "cityscapes-to-adverse", "dinov2-l", "childtune-f", 1)
    methods = [each.method for each in build(3, runs).rows]
    assert methods[-3:] == ["childtune-d", "childtune-f", "fishertune"]


# -- published -----------------------------------------------------------------------------------------


def test_published_figures_are_shown_with_difference_source_and_errata(found: list[Record]) -> None:
    table = build(1, found, published=True)
    made = cell(table, "DINOv2", "fishertune", "Avg.")
    assert made.published == 66.5
    assert made.mean is not None
    assert made.difference == pytest.approx(made.mean - 66.5)
    assert cell(table, "CLIP", "vpt", "Mapillary") == Cell(published=57.5)
    text = tables.markdown(table)
    assert re.search(r"\|\s+66\.5 \|", text)
    assert f"{made.difference:+.1f}".replace("-", "−") in text
    notes = " ".join(table.notes)
    assert "FisherTune, CVPR 2025, pp. 15043-15054, Table 1." in notes
    assert "68.0 in one row and 68.7 in another" in notes
    assert "Cityscapes to BDD100K" not in notes
    assert "15043" not in " ".join(build(1, found).notes)


def test_a_wide_table_has_published_figures_below_each_row(found: list[Record]) -> None:
    first, _ = paper.build(2, found, published=True)
    lines = tables.markdown(first).splitlines()
    place = next(index for index, line in enumerate(lines) if line.startswith("| Rein"))
    assert lines[place + 1].startswith("| – published")
    assert lines[place + 1].rstrip("| ").endswith("66.4")
    assert lines[place + 2].startswith("| – difference")


def test_the_main_table_shows_published_figures(found: list[Record]) -> None:
    chosen = [each for each in found if each.backbone == "dinov2-l"]
    (table,) = tables.build(chosen, protocol="gtav-to-cbm@rein-test", published=papers.find)
    shown = {each.method: each.cells[heads(table).index("Avg.")].published for each in table.rows}
    assert shown == {"full": 61.7, "freeze": 61.1, "rein": 64.3, "fishertune": 66.5}
    notes = " ".join(table.notes)
    assert "Table 1 (Full, Rein, Fishertune)" in notes
    assert "Rein (Wei et al., CVPR 2024), Table 2 (Freeze)" in notes
    assert "12,403" not in notes


def test_the_main_table_shows_the_note_of_a_published_figure(tmp_path: Path) -> None:
    runs = kept(tmp_path, "gtav-to-cbm@full-test", "dinov2-l", "recyclelora", 1)
    (table,) = tables.build(runs, published=papers.find)
    assert [each.published for each in table.rows[0].cells[1:6]] == [None, 73.01, 61.77, 72.07, 68.95]
    assert "12,403 random images" in " ".join(table.notes)


def test_a_table_may_hold_published_figures_only(found: list[Record]) -> None:
    table = build(1, found[-1:], published=True, backbone="clip-l")
    assert cell(table, "CLIP", "lora", "Avg.") == Cell(published=53.0)
    with pytest.raises(UserError, match=r"Table 1, which shows gtav-to-cbm@rein"):
        build(1, found[-1:], backbone="clip-l")


# -- records -------------------------------------------------------------------------------------------


def test_the_best_is_marked_per_group(found: list[Record]) -> None:
    table = build(1, found)
    best = [(each.group, each.method) for each in table.rows if any(made.best for made in each.cells)]
    assert best == [("DINOv2 (ViT-L)", "fishertune")]
    table = build(4, found)
    assert [each.method for each in table.rows if each.cells[1].best] == ["fishertune"]
    assert not any(each.cells[0].best for each in table.rows)  # F has a single seed there
    assert "at least two seeds of every method (F: one)" in " ".join(table.notes)


def test_a_record_of_another_version_of_the_protocol_is_an_error_that_names_it(tmp_path: Path) -> None:
    fields = {**protocol.load("gtav-to-cbm").fields(), "iterations": 9}
    old = kept(tmp_path, "gtav-to-cbm", "dinov2-l", "rein", 1, protocol_fields=fields, fingerprint="0" * 64)
    with pytest.raises(UserError, match="iterations is 9 in the record, 40000 in the protocol") as caught:
        build(1, old)
    assert str(old[0].path) in str(caught.value)
    kept(tmp_path, "gtav-to-cbm", "dinov2-l", "full", 1)
    assert build(3, [*old, *kept(tmp_path, "cityscapes-to-adverse", "dinov2-l", "full", 1)])


def test_records_that_are_not_comparable_are_an_error(tmp_path: Path) -> None:
    runs = kept(tmp_path, "gtav-to-cbm", "dinov2-l", "full", 1)
    runs += kept(tmp_path, "gtav-to-cbm", "dinov2-l", "rein", 1, data_hash="other")
    with pytest.raises(UserError, match="table: data_hash"):
        build(1, runs)


def test_a_variant_with_another_test_image_size_can_be_shown(tmp_path: Path) -> None:
    runs = kept(tmp_path, "gtav-to-cbm@full-test", "dinov2-l", "rein", 1)
    runs += kept(tmp_path, "gtav-to-cbm", "dinov2-l", "full", 1)
    table = build(1, runs, protocol="gtav-to-cbm@full-test", published=True)
    assert "gtav-to-cbm@full-test" in table.caption
    assert cell(table, "DINOv2", "rein", "Avg.").mean is not None
    assert cell(table, "DINOv2", "full", "Avg.") == Cell(published=61.7)


def test_the_papers_rows_are_available_on_any_protocol(tmp_path: Path) -> None:
    runs = [
        *kept(tmp_path, "streets", "vit-tiny-streets", "fim-variational"),
        *kept(tmp_path, "streets", "vit-tiny-random", "vqt"),
    ]
    table = build(4, runs, protocol="streets", published=True)
    assert heads(table) == ["Overcast", "Dashcam", "Worldwide", "Avg.", "n"]
    assert [each.group for each in table.rows[::9]] == ["vit-tiny-streets"]  # Table 4 has no row for VQT
    assert cell(table, "streets", "fim-variational", "Avg.").mean is not None
    table = build(2, runs, protocol="streets")
    assert heads(table) == ["Trainable (M)", "road", "building", "sky", "Avg.", "n"]


def test_an_unknown_backbone_is_named(found: list[Record]) -> None:
    with pytest.raises(UserError, match=r"Table 3 .*'clip-l'"):
        build(3, found, backbone="clip-l")


# -- LaTeX ---------------------------------------------------------------------------------------------


def test_every_table_compiles_in_one_document_and_fits_its_page(found: list[Record], tmp_path: Path) -> None:
    texts = []
    for published in (False, True):
        texts += [tables.latex(part) for number in NUMBERS for part in paper.build(number, found, published=published)]
        chosen = [each for each in found if each.backbone == "dinov2-l" and each.protocol.startswith("gtav")]
        texts += map(tables.latex, tables.build(chosen, published=papers.find))
    log = compiled(texts, tmp_path, "tables")
    assert "Overfull" not in log
    assert "Missing character" not in log
    assert "too large for page" not in log
    floats = sum(text.count(r"\caption{") for text in texts)
    assert floats > len(texts)  # Table 1 with all its backbones is longer than a page
    assert f"tables.pdf ({floats} page" in log
