"""``python -m benchmark figure``: files, errors, and messages about missing runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmark.cli import showing
from benchmark.common.errors import UserError
from benchmark.figures._command import Request, run
from tests.cli.test_cli import call, refused
from tests.records.made import FIELDS, confusion, failed, names, stored


def request(records: Path, out: Path, name: str | None = None, **options: Any) -> Request:
    plain: dict[str, Any] = {
        "every": name is None, "protocol": None, "backbone": None, "methods": "", "reference": None,
    }  # fmt: skip
    return Request(name=name, records=records, out=out, **plain | options)


@pytest.fixture
def some(tmp_path: Path) -> Path:
    root = tmp_path / "records"
    for method in ("freeze", "lora"):
        stored(root, method)
    return root


def test_all_writes_pdf_png_and_caption(some: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(request(some, tmp_path / "out"))
    said = capsys.readouterr()
    place = tmp_path / "out" / "streets" / "vit-tiny-streets"
    stems = [*(place / name for name in ("classes", "cost", "domains", "scores")), place.parent / "vfms"]
    assert {Path(line) for line in said.out.splitlines()} == {
        stem.with_suffix(end) for stem in stems for end in (".pdf", ".png", ".txt")
    }
    assert {path for path in (tmp_path / "out").rglob("*") if path.is_file()} == {
        Path(line) for line in said.out.splitlines()
    }
    for stem in stems:
        pdf = stem.with_suffix(".pdf").read_bytes()
        assert pdf.startswith(b"%PDF-")
        assert pdf.rstrip().endswith(b"%%EOF")
        assert b"/Type3" not in pdf
        assert b"/Subtype /Image" not in pdf
        with Image.open(stem.with_suffix(".png")) as image:
            image.verify()
        with Image.open(stem.with_suffix(".png")) as image:
            assert image.width in (990, 2070)  # a column or a page at 300 dots per inch
            assert image.info["Description"] == stem.with_suffix(".txt").read_text().strip()
    assert "streets/vit-tiny-streets/estimators: " in said.err
    before = {stem: stem.with_suffix(".pdf").read_bytes() for stem in stems}
    run(request(some, tmp_path / "out"))
    assert before == {stem: stem.with_suffix(".pdf").read_bytes() for stem in stems}


def test_without_a_name_the_figures_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(request(tmp_path, tmp_path, every=False))
    assert "sensitivity  Sensitivity by layer and block" in capsys.readouterr().out


def test_searches_and_checks_are_drawn_only_on_request(some: Path, tmp_path: Path) -> None:
    stored(some, "freeze", protocol="streets@check", protocol_fields={**FIELDS, "name": "streets@check"})
    for protocol, expected in ((None, "streets"), ("streets@check", "streets@check")):
        run(request(some, tmp_path / expected, "cost", protocol=protocol))
        assert [path.name for path in (tmp_path / expected).iterdir()] == [expected]


def test_missing_runs_are_named_in_one_line(some: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmark import records

    records.write(failed("rein"), {}, {}, some)
    short = confusion(0.8, 0, targets=("cityscapes",))
    from tests.records.made import record

    records.write(record(short, "vpt"), short, names(short), some)
    run(request(some, tmp_path / "out", "domains"))
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "omitted from streets/vit-tiny-streets/domains: rein seed 0 (failed); "
        "vpt seed 0 (not evaluated on bdd100k, mapillary)"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fingerprint": "e2" * 32}, "figure: fingerprint is f1f1f1f1f1f1… in one, e2e2e2e2e2e2…"),
        ({"protocol_fields": {**FIELDS, "iterations": 7}}, "figure: protocol field iterations is 500"),
        ({"decoder_hash": "other"}, "figure: decoder_hash"),
    ],
)
@pytest.mark.parametrize("name", ["domains", "vfms"])
def test_mixed_conditions_are_an_error_that_names_the_record(
    some: Path, tmp_path: Path, name: str, changes: dict[str, Any], message: str
) -> None:
    stored(some, "vpt", **changes)
    with pytest.raises(UserError, match=message) as refusal:
        run(request(some, tmp_path / "out", name))
    assert "vpt/seed0.json" in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_backbones_may_differ_only_in_figures_that_compare_them(some: Path, tmp_path: Path) -> None:
    stored(some, "lora", backbone="eva02-l", weights_hash="ee", decoder_hash="dd")
    for name in ("domains", "vfms"):
        run(request(some, tmp_path / "out", name))
    assert (tmp_path / "out/streets/eva02-l/domains.pdf").is_file()
    assert (tmp_path / "out/streets/vfms.pdf").is_file()
    stored(some, "full", backbone="eva02-l", weights_hash="another", decoder_hash="dd")
    with pytest.raises(UserError, match="weights_hash"):
        run(request(some, tmp_path / "out", "vfms"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "domain"}, "figure 'domain': .*'domains'"),
        ({"name": "domains", "every": True}, "figure domains: .*--all"),
        ({"name": "domains", "protocol": "street"}, "protocol 'street': .*'streets'"),
        ({"name": "domains", "backbone": "x"}, "backbone 'x': .*vit-tiny-streets"),
        ({"name": "domains", "methods": "lora,lorra"}, "--methods lorra: "),
        ({"name": "domains", "methods": "lora[lr=0.1,rank=4]"}, r"--methods lora\[lr=0\.1,rank=4\]: "),
        ({"name": "classes", "reference": "ful"}, "--reference ful: "),
        ({"name": "classes", "methods": "freeze"}, "classes: .* seed of freeze"),
        ({"name": "estimators"}, "estimators: .*--methods figure5"),
    ],
)
def test_invalid_options_are_errors(some: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(request(some, tmp_path / "out", **options))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_named(some: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(UserError, match=r"out.*: .*--out"):
        run(request(some, tmp_path / "out", "domains"))


def test_a_folder_without_records_exits_with_code_2(tmp_path: Path) -> None:
    assert str(tmp_path) in refused(call("figure", "domains", "--records", tmp_path))


def test_without_own_records_a_figure_shows_the_committed_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    showing.figure("cost", protocol="camvid")
    assert (tmp_path / "figures" / "camvid" / "vit-tiny-streets" / "cost.png").is_file()
    assert "showing the suite's own" in capsys.readouterr().err
