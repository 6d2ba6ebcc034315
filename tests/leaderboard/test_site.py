"""The site: well-formed, self-contained, equal to the records, reproducible, and honest about rendered data."""

from __future__ import annotations

import base64
import hashlib
import json
import posixpath
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from benchmark import tables
from benchmark.common.errors import UserError
from benchmark.leaderboard import board, command, heads, site
from benchmark.records import Record, read_all
from benchmark.tables import published as papers
from benchmark.tables.resamples import Resamples
from benchmark.tables.runs import Runs
from benchmark.tables.separation import groups
from tests.cli.test_cli import call, refused
from tests.leaderboard.conftest import HOSTILE, RENDERED
from tests.report.reader import Page

OWN = "boards/own/vit-tiny-streets.html"
GTAV = "boards/gtav-to-cbm@rein-test/dinov2-l.html"


def page(files: dict[str, bytes], path: str) -> Page:
    return Page(files[path].decode())


def records_of(root: Path, name: str) -> list[Record]:
    return [record for record in read_all(root) if record.protocol == name]


def test_every_page_is_self_contained_and_every_link_leads_to_a_file(files: dict[str, bytes]) -> None:
    pages = [path for path in files if path.endswith(".html")]
    assert {"index.html", OWN, GTAV} < set(pages)
    for path in pages:
        text = files[path].decode()
        made = Page(text)
        assert text.startswith("<!DOCTYPE html>")
        assert not {tag for tag, _ in made.attributes} & {"link", "iframe", "object", "embed", "form", "base", "img"}
        assert not [name for _, each in made.attributes for name in each if name.startswith("on") or name == "style"]
        assert not re.search(r"url\(|@import|http-equiv=\"refresh\"", text)
        links = made.values("a", "href")
        assert links
        for href in links:
            assert posixpath.normpath(posixpath.join(posixpath.dirname(path), unquote(href))) in files, href
        (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
        for tag in ("style", "script"):
            (inner,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
            assert f"{tag}-src &#39;sha256-{digest}&#39;" in policy
        assert "default-src &#39;none&#39;" in policy


def test_equal_records_give_equal_files_listed_in_the_manifest(root: Path, files: dict[str, bytes]) -> None:
    assert site.files(read_all(root)) == files
    listed = json.loads(files[site.MANIFEST])
    assert listed == {
        path: hashlib.sha256(content).hexdigest() for path, content in files.items() if path != site.MANIFEST
    }


def test_records_are_in_the_site_byte_for_byte(root: Path, files: dict[str, bytes]) -> None:
    paths = {path.relative_to(root).as_posix(): path for path in root.rglob("*.json")}
    copies = {path.removeprefix("records/"): content for path, content in files.items() if path.startswith("records/")}
    assert copies == {name: path.read_bytes() for name, path in paths.items()}


def test_cells_equal_those_of_the_table_and_of_the_runs(root: Path) -> None:
    found = records_of(root, "own")
    made = board.build("own", "vit-tiny-streets", found)
    (table,) = tables.build(found)
    lines = {line.label: line for line in made.lines}
    for row in table.rows:
        line, runs = lines[row.label], [each for each in found if each.method == row.method]
        (trained, source, *unseen, average, seconds, count) = row.cells
        expected = [average, source, *unseen, trained, seconds]
        assert [entry.value for entry in line.entries[:-1]] == [cell.mean for cell in expected]
        assert [entry.mark for entry in line.entries[:5]] == [
            "best" if cell.best else "second" if cell.second else "" for cell in expected[:5]
        ]
        assert line.count == count.mean
        averages = [None if run.average is None else pytest.approx(100 * run.average) for run in runs]
        assert [run.entries[0].value for run in line.runs] == averages
        assert [run.record for run in line.runs] == runs


def test_where_a_cell_comes_from_is_on_the_page(root: Path, files: dict[str, bytes]) -> None:
    made = page(files, OWN)
    texts = [text for _, text in made.texts]
    for record in records_of(root, "own"):
        assert f"{record.name}.json" in texts
        for fact in (record.fingerprint[:12], str(record.commit)[:12], record.checksum[:12]):
            assert fact in texts
    assert "NVIDIA H200, AMD EPYC, Linux x86_64, 2 cores" in texts
    assert "ce is nan" in texts, "the reason of a failed run"


def test_groups_follow_the_pairwise_tests(root: Path) -> None:
    found = records_of(root, "own")
    made = board.build("own", "vit-tiny-streets", found)
    # Freeze and BitFit have equal scores; one of VPT's seeds failed; the ablation has nothing to compare with.
    assert {line.label: line.group for line in made.lines} == {
        "Lora": 1, "Freeze": 2, HOSTILE: 2, "Vpt": None, "Fim": None,
    }  # fmt: skip
    runs = Runs.of(found)
    assert groups({"lora": runs.finished["lora"]}, runs.targets, Resamples()) == {}


def test_rows_are_by_average_and_of_three_kinds(root: Path) -> None:
    made = board.build("own", "vit-tiny-streets", records_of(root, "own"))
    assert made.kinds == {"method": 4, "variant": 1}
    averages = [float(line.entries[0].value or 0) for line in made.lines]
    assert averages == sorted(averages, reverse=True)
    assert made.leader is made.lines[0]
    other = board.build("gtav-to-cbm@rein-test", "dinov2-l", records_of(root, "gtav-to-cbm@rein-test"))
    assert list(other.kinds) == ["method", "published"]
    assert [line.kind for line in other.lines][:2] == ["method", "published"]


def test_published_figures_are_rows_of_their_own_with_their_errata(files: dict[str, bytes], root: Path) -> None:
    made = board.build("gtav-to-cbm@rein-test", "dinov2-l", records_of(root, "gtav-to-cbm@rein-test"))
    texts = [text for _, text in page(files, GTAV).texts]
    printed = [line for line in made.lines if line.kind == "published"]
    assert len(printed) == len(papers.rows("gtav-to-cbm@rein-test", "dinov2-l"))
    for line in printed:
        assert (line.runs, line.group, line.count) == ((), None, 0)
        assert f"{line.source}." in texts
        assert set(line.errata) <= set(texts)
    columns = [head.text for head in made.heads]
    rein = next(line for line in printed if line.label == "Rein")
    assert dict(zip(columns, [entry.text for entry in rein.entries], strict=True)) == {
        "Avg.": "64.3", "Source": "", "Cityscapes": "66.4", "BDD100K": "60.4", "Mapillary": "66.1",
        "Trainable": "2.99", "CPU": "", "Memory": "",
    }  # fmt: skip
    assert any("FisherTune's Mapillary figure on DINOv2-L is 68.0 in one row" in text for text in rein.errata)
    assert rein.tag == "published, Table 1"


def test_published_rows_are_those_of_the_file() -> None:
    for protocol, backbone in papers.boards():
        rows = papers.rows(protocol, backbone)
        assert rows
        for row in rows:
            for scored, value in row.figures.items():
                known = papers.find(protocol, backbone, row.method, scored)
                assert known is not None
                assert value == known.value or known.source != row.source
    (rein,) = [row for row in papers.rows("gtav-to-cbm@full-test", "clip-l") if row.method == "rein"]
    assert rein.figures == {"trained": 2.99, "cityscapes": 57.1, "bdd100k": 54.7, "mapillary": 60.5, "average": 57.4}
    assert not papers.rows("streets", "clip-l")


def test_boards_without_runs_show_published_figures(files: dict[str, bytes]) -> None:
    made = page(files, "boards/cityscapes-to-acdc@rein-test/eva02-l.html")
    assert "no run of it here yet" in next(text for text in made.all_of("caption"))
    assert "seed" not in " ".join(made.values("tr", "class"))
    names = [path.split("/")[1:] for path in files if path.startswith("boards/gtav-to-cbm@")]
    assert ["gtav-to-cbm@full-test", "clip-l.html"] in names
    assert ["gtav-to-cbm@rein-test", "mae-l.html"] in names, (
        "the default variant of a protocol that a paper names plainly"
    )


# -- rendered data -------------------------------------------------------------------------------------


def test_a_rendered_domain_never_has_the_name_of_a_real_data_set(files: dict[str, bytes]) -> None:
    assert heads.domain("cityscapes", RENDERED) == heads.Head("Overcast", "rendered")
    assert heads.domain("bdd100k", RENDERED) == heads.Head("BDD100K")
    fields = {"targets": {"camvid-dusk": {"dataset": "streets-large", "split": "dashcam/test"}, "fog": {"dataset":
              "streets", "split": "fog/test"}}}  # fmt: skip
    assert heads.domain("camvid-dusk", fields) == heads.Head("Dashcam", "rendered")
    assert heads.domain("fog", fields) == heads.Head("Fog", "rendered")
    made = page(files, OWN)
    columns = [text for text in made.all_of("th") if text in ("Cityscapes", "Overcast", "BDD100K")]
    assert columns == ["Overcast", "BDD100K"]
    assert "rendered" in made.all_of("small")
    assert "Unseen domains: rendered streets (overcast)." in made.all_of("caption")[0]
    assert "partly rendered here" in page(files, "index.html").all_of("span")


@pytest.mark.parametrize(
    ("source", "unseen", "words"),
    [
        (["streets"], ["streets"], "rendered here"),
        (["streets"], ["camvid"], "source rendered here"),
        (["gta5"], ["camvid", "streets"], "partly rendered here"),
        (["gta5", "streets"], ["streets"], "partly rendered here"),
        (["gta5", "synthia"], ["camvid"], ""),
    ],
)
def test_what_is_rendered_is_said_in_words(source: list[str], unseen: list[str], words: str) -> None:
    stated: Any = [{"dataset": name} for name in source]
    fields = {"source": stated if len(stated) > 1 else stated[0], "targets": {x: {"dataset": x} for x in unseen}}
    assert heads.data(fields) == words


# -- the command ---------------------------------------------------------------------------------------


def test_the_command_replaces_a_site_and_nothing_else(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    done = call("leaderboard", "--records", root, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{out / 'index.html'}: ")
    assert (out / OWN).is_file()
    (out / "mine.txt").write_text("kept")
    command.run(root, out, "gtav-to-cbm@rein-test", None)
    assert not (out / OWN).exists()
    assert (out / GTAV).is_file()
    assert (out / "mine.txt").read_text() == "kept"


@pytest.mark.parametrize("content", ["[]", "{", '{"../../other": ""}', "[" * 100_000])
def test_a_folder_that_is_no_site_is_refused(root: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "file").touch()
    assert "not empty, and not a leaderboard" in refused(call("leaderboard", "--records", root, "--out", tmp_path))
    (tmp_path / site.MANIFEST).write_text(content)
    with pytest.raises(UserError, match="not that of a leaderboard"):
        command.run(root, tmp_path, None, None)


def test_unknown_names_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match=r"--protocol won: .*'own'"):
        site.files(read_all(root), "won")
    with pytest.raises(UserError, match=r"--backbone dinov2-x: .*'dinov2-l'"):
        site.files(read_all(root), None, "dinov2-x")
