"""Trainable parameters: counted on the papers' architectures and compared with published numbers."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
import timm
import torch
import yaml

from benchmark import parameters, tables
from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.models.catalogue import backbone_names
from benchmark.parameters import Published, counting, published
from benchmark.parameters.table import Printed
from tests.cli.test_cli import call, refused
from tests.plugin import install
from tests.tables.latex import compiled, require

pytestmark = pytest.mark.slow

FILE = Path(parameters.__file__).with_name("published.yaml")
METHODS = registry.names("method")
AWAITED = {"adaptformer", "childtune-f", "fada", "geco", "vqt"}


@cache
def count(method: str, backbone: str) -> int:
    return counting.count(registry.find("method", method)(), backbone)


@pytest.mark.parametrize(
    ("method", "backbone", "number"),
    [
        ("full", "clip-l", 304_150_528),
        ("full", "mae-l", 304_149_504),
        ("full", "sam-h", 632_175_360),
        ("full", "eva02-l", 304_239_552),
        ("full", "dinov2-l", 304_198_656),
        ("freeze", "sam-h", 0),
        ("lora", "dinov2-l", 24 * 8 * 4 * 1024),
        ("lora", "eva02-l", 24 * 8 * 6 * 1024),
        ("lora", "sam-h", 32 * 8 * 4 * 1280),
        ("lora", "clip-l", 786_432),
        ("dora", "dinov2-l", 860_160),
        ("dora", "eva02-l", 24 * (8 * 6 + 3) * 1024),
        ("dora", "sam-h", 32 * (8 * 4 + 3) * 1280),
        ("adaptformer", "dinov2-l", 3_171_840),
        ("adaptformer", "sam-h", 5_285_888),
        ("vpt", "eva02-l", 150 * 24 * 1024),
        ("vpt", "sam-h", 6_144_000),
        ("layernorm", "mae-l", 100_352),
        ("layernorm", "clip-l", 102_400),
        ("layernorm", "eva02-l", 231_392),
        ("layernorm", "sam-h", 164_864 - 1024),  # without the neck
        ("ssf", "dinov2-l", 544_768),
        ("ssf", "clip-l", 544_768 + 2 * 1024),  # a norm before the blocks
        ("ssf", "eva02-l", 2 * (24 * (7 * 1024 + 3 * 2730) + 2 * 1024)),  # gate and inner norm
        ("ssf", "sam-h", 2 * (32 * 11 + 1) * 1280),  # no last norm without the neck
        ("rein", "mae-l", 2_990_081),
        ("rein", "sam-h", 4_510_721),
        ("bitfit", "clip-l", 272_384),
        ("bitfit", "mae-l", 272_384),
        ("bitfit", "eva02-l", 346_064),
        ("bitfit", "sam-h", 452_352 - 512),  # without the neck
        ("soma", "dinov2-l", 4_867_072 - 1024),  # without DINOv2's unused mask token, which timm omits
        ("recyclelora", "dinov2-l", 14_155_776),
        ("recyclelora", "eva02-l", 24 * 36 * (4 * 2 * 1024 + 3 * (1024 + 2730))),
        ("recyclelora", "sam-h", 32 * 36 * (4 + 2 + 2 * 5) * 1280),
        ("fishertune", "dinov2-l", 15_209_933),
        ("fishertune", "sam-h", 31_608_768),
    ],
)
def test_counts_are_exact(method: str, backbone: str, number: int) -> None:
    assert count(method, backbone) == number


def test_counts_are_independent() -> None:
    lora, full = (registry.find("method", name) for name in ("lora", "full"))
    assert counting.count(lora(), "dinov2-l") == counting.count(lora(), "dinov2-l")
    assert counting.count(full(), "dinov2-l") == 304_198_656


# -- published numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("each", published(), ids=lambda each: f"{each.source}-{each.method}-{each.backbone}")
def test_every_difference_has_a_reason_and_vice_versa(each: Published) -> None:
    if each.method not in METHODS:
        assert each.method in AWAITED
        return
    try:
        agrees = each.agrees(count(each.method, each.backbone))
    except UserError:
        assert not each.reason, "a reason without a count"
        return
    assert agrees == (not each.reason)


def test_the_file_refers_to_existing_sources_reasons_and_backbones() -> None:
    file = yaml.safe_load(FILE.read_text())
    reasons = [reason for entry in file["counts"] for reason in entry.get("differs", {}).values()]
    assert set(reasons) == set(file["reasons"])
    assert {entry["source"] for entry in file["counts"]} == set(file["sources"])
    for entry in file["counts"]:
        assert set(entry) <= {"source", "method", "counts", "differs"}
        assert set(entry.get("differs", {})) <= set(entry["counts"]) <= set(backbone_names())
    keys = [(each.source, each.method, each.backbone) for each in published()]
    assert len(keys) == len(set(keys))


def test_the_papers_counts_of_full_fine_tuning_are_explained_exactly() -> None:
    """SAM-H lacks the neck and part of the position embedding; 26.66 of MAE-L's 26.79 M excess are MAE's decoder."""
    with torch.device("meta"):
        sam = timm.create_model("samvit_huge_patch16", num_classes=0)
        blocks = torch.nn.TransformerEncoderLayer(512, 16, 2048, batch_first=True)
    neck = sum(p.numel() for p in sam.neck.parameters())
    assert count("full", "sam-h") == sum(p.numel() for p in sam.parameters()) - neck - (64**2 - 32**2) * 1280
    eight = 8 * sum(p.numel() for p in blocks.parameters())
    ends = (1024 * 512 + 512) + 512 + (1 + 32 * 32) * 512 + 2 * 512 + (512 * 768 + 768)
    assert eight + ends == 26_664_192
    assert round(330.94 - (count("full", "mae-l") + eight + ends) / 1e6, 2) == 0.13


def test_rounding_is_to_the_printed_decimals() -> None:
    def agrees(millions: str, number: int) -> bool:
        return Published("R", "full", "x", millions, "").agrees(number)

    assert agrees("304.20", 304_198_656)
    assert not agrees("304.2000", 304_198_656)
    assert agrees("0.13", 125_000)
    assert not agrees("0.12", 125_000)
    assert agrees("0", 0)


# -- the table ---------------------------------------------------------------------------------------------


def test_the_table_marks_and_explains_differences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install(tmp_path))
    table = parameters.build(["sam-h", "eva02-l"], ["vpt", "vqt", "picky", "rein", "lora"])
    assert [row.method for row in table.rows] == ["lora", "vpt", "rein", "vqt", "picky"]
    assert [column.head for column in table.columns] == ["sam-h", "printed", "eva02-l", "printed"]
    lora, vpt, rein, vqt, picky = ([cell.text or cell.mean for cell in row.cells] for row in table.rows)
    assert lora == [1.31072, "F 0.79 ≠ (1)", 1.179648, "R 1.18 =, F 0.79 ≠ (1)"]
    assert vpt == [6.144, "F 3.69 ≠ (1)", 3.6864, "R/F 3.69 ="]
    assert rein == [4.510721, "R 4.51 =, F 2.99 ≠ (1)", 2.990081, "R/F 2.99 =, R9 2.53 ≠ (2)"]
    assert vqt == [0.2048, "F 3.01 ≠ (3)", 0.12288, "F 3.01 ≠ (3)"]
    assert picky[0] is None
    assert picky[2] == pytest.approx(count("bitfit", "eva02-l") / 1e6)
    notes = {note[:3]: note for note in table.notes}
    assert "repeats DINOv2-L's count" in notes["(1)"]
    assert "query link" in notes["(2)"]
    assert "73 give 2.99 M" in notes["(3)"]
    assert "picky" in notes["(4)"]
    assert "'sam-h'" in notes["(4)"]
    assert not any(note.startswith("G:") for note in table.notes), "only papers cited in the cells"


def test_every_method_has_a_row_and_every_backbone_can_be_shown() -> None:
    table = parameters.build(["vit-tiny-streets"])
    assert {row.method for row in table.rows} == set(registry.main_methods())
    assert {row.method for row in parameters.build(["vit-tiny-streets"], list(METHODS)).rows} == set(METHODS)
    assert [column.head for column in table.columns] == ["vit-tiny-streets"], "no published numbers for it"
    assert not any(note.startswith(("(", "=")) for note in table.notes)


def test_parameters_without_gradient_are_counted_by_decoder() -> None:
    """Rein's query link takes 1024 to 256 and 3 * 256 to 256; block outputs are read before the last norm."""
    notes = parameters.build(["sam-h", "dinov2-l"], ["lora", "rein", "layernorm"]).notes
    light, masks = (note for note in notes if "no gradient" in note)
    link = [256 * (dim + 1) + 256 * (3 * 256 + 1) for dim in (1280, 1024)]
    assert link == [524_800, 459_264]
    assert "segformer: Rein 524,800 (dinov2-l 459,264); LayerNorm 0 (dinov2-l 2,048)." in light
    assert "mask2former: LayerNorm 0 (dinov2-l 2,048)." in masks


def test_perturbation_adds_no_parameters_and_no_row() -> None:
    table = parameters.build(["vit-tiny-streets"], ["lora+perturbed", "lora", "freeze+perturbed"])
    assert [row.method for row in table.rows] == ["freeze", "lora"]


def test_a_difference_without_a_reason_is_called_unexplained() -> None:
    printed = Printed([Published("R", "freeze", "dinov2-l", "1.00", "")])
    _, cell = printed.beside(registry.find("method", "freeze")(), "freeze", "dinov2-l")
    assert cell.text == "R 1.00 ≠ (1)"
    assert "unexplained" in printed.notes()[-1]


def test_latex_of_every_cell_compiles(tmp_path: Path) -> None:
    require()  # counting every cell takes half a minute
    text = tables.latex(parameters.build())
    assert r"304.150528 & R 304.15 =, F 304.20 $\neq$ (1)" in text
    assert "Overfull" not in compiled([text], tmp_path)


def test_the_command_prints_markdown_and_latex() -> None:
    done = call("params", "--backbone", "dinov2-l, vit-tiny-streets", "--methods", "freeze, full")
    assert done.returncode == 0, done.stderr
    assert "| Full     | 304.198656 | R/F 304.20 = |           2.829504 |" in done.stdout
    assert done.stdout.index("| Full") < done.stdout.index("| Freeze")
    latex = call("params", "--backbone", "dinov2-l", "--methods", "full", "--format", "latex")
    assert r"Full & 304.198656 & R/F 304.20 = \\" in latex.stdout
    assert not done.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--backbone", "dinov2-xl"], "backbone 'dinov2-xl': .*'dinov2-"),
        (["--methods", "lora,fishertuned"], "method 'fishertuned': .*'fishertune'"),
        (["--format", "word"], "'word'"),
    ],
)
def test_an_invalid_option_exits_with_code_2(words: list[str], line: str) -> None:
    assert re.search(line, refused(call("params", *words)))
