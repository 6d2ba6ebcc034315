"""The report page: well-formed, self-contained, equal to the records, and safe against malicious records."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from benchmark import records, tables
from benchmark.artifacts.predictions import examples
from benchmark.common.errors import UserError
from benchmark.data.labels import CAMVID_COLORS
from benchmark.records import SOURCE, confusions, read_all
from benchmark.report import command, summary
from benchmark.report.page import html
from benchmark.report.sheets import Sheet
from tests.cli.test_cli import call, refused
from tests.records.made import CLASSES, FIELDS
from tests.records.made import failed as made_failed
from tests.records.made import stored as made
from tests.report.reader import Page
from tests.tables.made import kept

pytestmark = pytest.mark.slow

stored = partial(made, protocol="own")  # synthetic records match no real protocol
failed = partial(made_failed, protocol="own")
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}"


def page_of(root: Path, data_root: Path | None = None) -> Page:
    return Page(html(read_all(root), root, root, data_root))


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of three methods; tests must not change them."""
    root = tmp_path_factory.mktemp("records")
    for method, accuracy in (("full", 0.7), ("freeze", 0.8), ("lora", 0.75)):
        for seed in (0, 1):
            stored(root, method, seed, accuracy)
    return root


@pytest.fixture(scope="module")
def text(some: Path) -> str:
    """The page of these records."""
    return html(read_all(some), some, some, None)


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """The record of one run; tests may add more."""
    stored(tmp_path / "records", "freeze")
    return tmp_path / "records"


def pixels(address: str) -> np.ndarray:
    kind, _, content = address.partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return np.array(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


def test_the_page_is_self_contained(runs: Path, tiny_data: Path, tmp_path: Path) -> None:
    some = tmp_path / "records"
    shutil.copytree(runs, some)
    stored(some, "lora[lr=0.1]")
    text = html(read_all(some), some, some, tiny_data)
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert {tag for tag, _ in page.attributes} >= {"table", "figure", "nav", "section", "details"}
    assert not {tag for tag, _ in page.attributes} & {"link", "iframe", "object", "embed", "form", "base"}
    sources = [value for _, each in page.attributes for name, value in each.items() if name in ("src", "srcset")]
    assert sources
    assert all(re.match(r"data:image/(png|jpeg|svg\+xml);base64,", source) for source in sources)
    for href in page.values("a", "href"):
        if href.startswith("#"):
            assert href[1:] in page.ids
        else:
            assert (some / unquote(href)).is_file()
    assert not [name for _, each in page.attributes for name in each if name.startswith("on") or name == "style"]
    assert "url(" not in text
    assert "@import" not in text
    assert len(text) < 800_000
    for each in page.attributes:
        if each[0] == "img":
            assert each[1]["alt"]


def test_the_policy_allows_only_the_pages_own_style_and_script(text: str) -> None:
    page = Page(text)
    policy = dict(
        part.strip().split(" ", 1)
        for part in next(
            each["content"] for _, each in page.attributes if each.get("http-equiv") == "Content-Security-Policy"
        ).split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "data:"
    for tag in ("style", "script"):
        (inner,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"


def test_values_from_records_are_escaped(tmp_path: Path) -> None:
    fields = FIELDS | {"source": {"dataset": HOSTILE}, "note": HOSTILE}
    changes: dict[str, Any] = {
        "protocol_fields": fields, "classes": (HOSTILE, *CLASSES[1:]), "machine": {HOSTILE: HOSTILE},
        "versions": {HOSTILE: HOSTILE}, "vfm": {HOSTILE: HOSTILE}, "fingerprint": HOSTILE, "commit": HOSTILE,
        "data_notes": {HOSTILE: (HOSTILE,)},
    }  # fmt: skip
    stored(tmp_path, "lora", label=HOSTILE, seconds={HOSTILE: 1.0}, **changes)
    records.write(failed("vpt", label=HOSTILE, error=HOSTILE, **changes), {}, {}, tmp_path)
    text = html(read_all(tmp_path), tmp_path, tmp_path, None)
    page = Page(text)
    assert [tag for tag, _ in page.attributes].count("script") == 1
    assert "<script>alert" not in text
    assert all("onerror" not in each for _, each in page.attributes)
    assert all(source.startswith("data:") for source in page.values("img", "src"))
    assert [words for words in page.all_of("th") if words == HOSTILE]
    assert HOSTILE in page.values("td", "title")
    assert HOSTILE in page.all_of("dt")
    assert HOSTILE in page.all_of("dd")


def test_numbers_equal_those_of_the_table(some: Path, text: str) -> None:
    page = Page(text)
    (table,) = tables.build(read_all(some))
    after = page.attributes.index(
        ("table", {"class": "sortable"}), page.attributes.index(("table", {"class": "sortable"})) + 1
    )
    cells = iter([each for each in page.attributes[after:] if each[0] == "td"])
    for row in table.rows:
        shown = [next(cells)[1].get("data-value") for _ in row.cells]
        assert [None if each is None else float(each) for each in shown] == [cell.mean for cell in row.cells]
        assert row.label in page.all_of("th")
        place = next(i for i, text in enumerate(page.texts) if text == ("th", row.label))
        number = row.cells[1]
        assert page.texts[place + 2 : place + 4] == [
            ("td", f"{number.mean:.1f}"), ("small", f"± {number.spread:.1f}"),
        ]  # fmt: skip
    for note in table.notes:
        assert note in page.all_of("p")
    assert table.caption in page.all_of("caption")
    assert "f1" * 32 in page.all_of("dd")


def test_equal_records_give_equal_pages(some: Path, text: str) -> None:
    assert html(read_all(some), some, some, None) == text


def test_ablations_and_variants_have_a_table_of_their_own(few: Path) -> None:
    stored(few, "fim")
    stored(few, "lora+perturbed")
    page = page_of(few)
    captions = [text for text in page.all_of("caption") if "Protocol own" in text]
    assert [text.startswith("Ablations and variants. ") for text in captions] == [False, True]
    assert "appendix" in page.ids
    assert "#part1-ablations" in page.values("a", "href")
    assert {"Fim", "Lora+perturbed"} <= set(page.all_of("th"))
    # Both in a table of scores and in the list of runs; the cost is that of the main comparison.
    assert [page.all_of("th").count(name) for name in ("Freeze", "Fim")] == [3, 2]


def test_the_summary_names_the_best_methods_with_cost_and_warnings(some: Path, tmp_path: Path) -> None:
    root = tmp_path / "records"
    shutil.copytree(some, root)
    records.write(failed("vpt", cpu_seconds=3600), {}, {}, root)
    stored(root, "lora", protocol="own@tune", accuracy=0.9)
    summary = sheet_of(read_all(root))
    shown = [[entry.text for entry in row] for row in summary.groups[0].rows]
    hours = sum(record.cpu_seconds for record in read_all(root) if record.protocol == "own") / 3600
    assert hours > 1
    average = fmean(record.average or 0.0 for record in read_all(root) if record.method == "freeze")
    best = ["own", "vit-tiny-streets", "3", "2", "Freeze (1 of 3)", f"{100 * average:.1f}", f"{hours:.1f}", "1"]
    assert shown[0] == best
    assert shown[1][:5] == ["own@tune", "vit-tiny-streets", "1", "1", "not compared: needs two methods with two seeds"]
    page = page_of(root)
    assert page.values("section", "id") == ["summary", "part1", "appendix", "part2"]
    assert summary.caption == page.all_of("caption")[0]
    assert {"#part1", "#part2"} <= set(page.values("a", "href"))


def test_the_summary_compares_no_variants_except_in_searches(some: Path, tmp_path: Path) -> None:
    root = tmp_path / "records"
    shutil.copytree(some, root)
    before = [entry.text for entry in sheet_of(read_all(root)).groups[0].rows[0]]
    for seed in (0, 1):
        stored(root, "lora[lr=0.1]", seed, accuracy=0.99)
        stored(root, "lora[lr=0.1]", seed, protocol="own@tune")
        stored(root, "lora[lr=0.2]", seed, protocol="own@tune", accuracy=0.9)
    own, search = ([entry.text for entry in row] for row in sheet_of(read_all(root)).groups[0].rows)
    assert own[:6] == before[:6]
    assert (search[2], search[4].endswith("(1 of 2)")) == ("2", True)


def sheet_of(found: list[records.Record]) -> Sheet:
    parts = [
        (f"#{name}", [record for record in found if record.protocol == name])
        for name in sorted({record.protocol for record in found})
    ]
    return summary.build(parts)


def test_captions_differ(some: Path, tmp_path: Path) -> None:
    root = tmp_path / "records"
    shutil.copytree(some, root)
    stored(root, "fim")
    stored(root, "lora[lr=0.1]")
    captions = page_of(root).all_of("caption")
    assert len(set(captions)) == len(captions)


def test_a_run_that_failed_is_listed_with_its_reason(tmp_path: Path) -> None:
    records.write(failed(), {}, {}, tmp_path)
    page = page_of(tmp_path)
    assert "failed" in page.all_of("td")
    assert "ce is nan" in page.values("td", "title")
    assert "No finished run." in page.all_of("p")


def test_mixed_conditions_are_an_error_that_names_the_record(few: Path) -> None:
    stored(few, "vpt", fingerprint="e2" * 32)
    with pytest.raises(UserError, match=r"vpt/seed0\.json cannot share"):
        page_of(few)


def test_the_papers_tables_show_published_figures(tmp_path: Path, text: str) -> None:
    kept(tmp_path, "gtav-to-cbm@rein-test", "dinov2-l", "rein", label="Rein")
    page = page_of(tmp_path)
    assert "papers" in page.ids
    assert [text for text in page.all_of("small") if re.search(r"publ\. 66\.4 Δ [+−]", text)]
    assert "papers" not in Page(text).ids


def test_figures_across_backbones_have_a_section_of_their_own(few: Path, text: str) -> None:
    assert "across" not in Page(text).ids
    stored(few, "freeze", backbone="eva02-l", weights_hash="ee", decoder_hash="dd")
    page = page_of(few)
    assert "across" in page.ids
    assert {"part1", "part2"} <= page.ids


# -- grids ---------------------------------------------------------------------------------------------


def test_grids_show_image_label_prediction_and_errors(runs: Path, tiny_data: Path) -> None:
    page = page_of(runs, tiny_data)
    images = [each for tag, each in page.attributes if tag == "img" and each["src"].startswith("data:image/png")]
    record = next(each for each in read_all(runs) if each.method == "freeze")
    maps, (matrices, ids) = examples(record), confusions(record)
    assert len([1 for tag, each in page.attributes if tag == "details" and each.get("class") == "grid"]) == 6
    # The first grid: label, Freeze's map and errors, BitFit's.
    label, prediction, errors = (pixels(each["src"]) for each in images[:3])
    assert images[0]["alt"] == f"label of {ids[SOURCE][0]}"
    assert (images[1]["alt"], images[2]["class"]) == ("prediction of Freeze", "map errors")
    np.testing.assert_array_equal(prediction, np.array(CAMVID_COLORS, np.uint8)[maps[SOURCE][0]])
    matrix = matrices[SOURCE][0]
    wrong = (errors == (213, 94, 0)).all(-1)
    assert wrong.sum() == matrix.sum() - matrix.trace()
    unlabelled = (errors == 150).all(-1)
    assert (~unlabelled).sum() == matrix.sum()
    np.testing.assert_array_equal((label != prediction).any(-1)[~unlabelled], wrong[~unlabelled])
    assert f"{100 * matrix.trace() / matrix.sum():.1f} %" in page.all_of("small")
    photograph = next(pixels(source) for source in page.values("img", "src") if "jpeg" in source)
    stored_image = np.array(Image.open(tiny_data / "camvid" / "val" / f"{ids[SOURCE][0]}.png"), int)
    assert np.abs(photograph - stored_image).mean() < 12  # as JPEG


def test_without_data_predictions_are_shown_with_a_remark(runs: Path) -> None:
    page = page_of(runs)
    assert "map prediction" in page.values("img", "class")
    assert "map errors" not in page.values("img", "class")
    assert [text for text in page.all_of("p") if text.startswith("Dusk: ") and "--data-root" in text]


def test_data_that_differ_from_the_evaluated_data_are_not_shown(runs: Path, tiny_data: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_data, tmp_path / "data")
    for path in (tmp_path / "data" / "camvid" / "testannot").glob("0001TP*"):
        label = np.array(Image.open(path))
        label[0, 0] = (label[0, 0] + 1) % 11
        Image.fromarray(label).save(path)
    page = page_of(runs, tmp_path / "data")
    assert "Dusk: the data found differ from those that the runs were evaluated on." in page.all_of("p")
    assert len([1 for each in page.values("img", "class") if each == "map errors"]) == 2 * (6 - 2)


def test_runs_without_saved_predictions_are_named(runs: Path, text: str, tmp_path: Path) -> None:
    assert any(words.startswith("No saved predictions: ") for words in Page(text).all_of("p"))
    root = tmp_path / "mixed"
    shutil.copytree(runs, root)
    for record in read_all(root):
        if record.method == "bitfit":
            matrices, ids = confusions(record)
            records.write(record.model_copy(update={"examples": None}), matrices, ids, root)
    page = page_of(root)
    assert "No saved predictions: BitFit." in page.all_of("p")
    shown = [alt for alt in page.values("img", "alt") if alt.startswith("prediction of ")]
    assert shown == ["prediction of Freeze"] * 6


# -- the command ---------------------------------------------------------------------------------------


def test_the_command_writes_one_file(some: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "page.html"
    done = call("report", "--records", some, "--output", output)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{output}: 6 runs, ")
    assert [path.name for path in output.parent.iterdir()] == ["page.html"]
    page = Page(output.read_text(encoding="utf-8"))
    links = [href for href in page.values("a", "href") if not href.startswith("#")]
    assert len(links) == 6
    assert all((output.parent / unquote(href)).resolve().is_file() for href in links)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "won"}, "protocol 'won': .*'own'"),
        ({"backbone": "x"}, "backbone 'x': .*vit-tiny-streets"),
        ({"data_root": Path("nowhere")}, "--data-root nowhere: "),
        ({"output": Path("/proc/page.html")}, "/proc/page.html: .*--output"),
    ],
)
def test_invalid_options_are_errors(some: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    plain: dict[str, Any] = {"output": tmp_path / "p.html", "protocol": None, "backbone": None, "data_root": None}
    with pytest.raises(UserError, match=message):
        command.run(some, **plain | changes)


def test_a_folder_without_records_exits_with_code_2(tmp_path: Path) -> None:
    assert str(tmp_path) in refused(call("report", "--records", tmp_path))
