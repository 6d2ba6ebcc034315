"""Weights from the hub: huggingface_hub's client against a local server."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from rich.console import Console
from safetensors.torch import save, save_file

from benchmark import protocol
from benchmark.common.errors import UserError
from benchmark.data.location import place_for
from benchmark.models import hub
from benchmark.models.backbone import build_backbone
from benchmark.models.catalogue import find_backbone
from benchmark.models.weights import read
from benchmark.runs import request, sweep
from tests.cli.test_cli import call
from tests.hub_server import NEW, OLD, Hub, serving, use

pytestmark = pytest.mark.slow

REPOSITORY = "timm/some-vit"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with serving(monkeypatch, tmp_path / "cache") as offer:
        yield offer


def file_of(value: float) -> bytes:
    return save({"a": torch.full((10,), value)})


def test_the_pinned_commit_is_fetched_although_the_branch_has_newer_ones(served: Hub) -> None:
    served.files = {(REPOSITORY, OLD, hub.FILE): file_of(1.0), (REPOSITORY, NEW, hub.FILE): file_of(2.0)}
    path = hub.fetch(REPOSITORY, OLD)
    assert path.read_bytes() == file_of(1.0)
    assert hub.commit(path) == OLD
    assert hub.promised_hash(path) == hashlib.sha256(file_of(1.0)).hexdigest()
    newest = hub.fetch(REPOSITORY, None)
    assert (newest.read_bytes(), hub.commit(newest)) == (file_of(2.0), NEW)


@pytest.mark.parametrize("revision", [OLD, None])
def test_a_cached_file_is_used_without_requests(
    served: Hub, monkeypatch: pytest.MonkeyPatch, revision: str | None
) -> None:
    served.files, served.main = {(REPOSITORY, OLD, hub.FILE): file_of(1.0)}, OLD
    path = hub.fetch(REPOSITORY, revision)
    served.asked.clear()
    served.files[(REPOSITORY, NEW, hub.FILE)], served.main = file_of(2.0), NEW
    assert hub.fetch(REPOSITORY, revision) == path
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.fetch(REPOSITORY, revision) == path
    assert not served.asked


@pytest.mark.parametrize("text", ["{}", "{}\n", "{} \r\n\t", "\n{}\u00a0", "\ufeff{}\r\n", "{}\0"])
def test_a_cache_copied_by_hand_is_found_whatever_white_space_its_references_end_in(
    served: Hub, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    served.files, served.main = {(REPOSITORY, OLD, hub.FILE): file_of(1.0)}, OLD
    path = hub.fetch(REPOSITORY, None)
    (reference,) = Path(constants.HF_HUB_CACHE).glob("*/refs/main")
    reference.write_text(text.format(OLD), encoding="utf-8")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.fetch(REPOSITORY, None) == path


@pytest.mark.parametrize("what", ["folder", "link to itself", "UTF-16", "large"])
def test_a_reference_that_cannot_be_read_is_named(served: Hub, what: str) -> None:
    served.files, served.main = {(REPOSITORY, OLD, hub.FILE): file_of(1.0)}, OLD
    hub.fetch(REPOSITORY, None)
    (reference,) = Path(constants.HF_HUB_CACHE).glob("*/refs/main")
    reference.unlink()
    {
        "folder": reference.mkdir,
        "link to itself": lambda: reference.symlink_to(reference.name),
        "UTF-16": lambda: reference.write_text(OLD, encoding="utf-16"),
        "large": lambda: reference.write_bytes(bytes(2000)),
    }[what]()
    with pytest.raises(UserError, match=r"refs/main: cannot be read: .*; remove it"):
        hub.fetch(REPOSITORY, None)


def test_offline_mode_sends_no_request(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    served.files = {(REPOSITORY, OLD, hub.FILE): file_of(1.0)}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"timm/some-vit: .*HF_HUB_OFFLINE.*--weights"):
        hub.fetch(REPOSITORY, OLD)
    assert not served.asked


def test_unknown_revisions_and_repositories_have_different_messages(served: Hub) -> None:
    served.files = {(REPOSITORY, OLD, hub.FILE): file_of(1.0)}
    with pytest.raises(UserError, match=r"timm/some-vit: .*3333.*--revision"):
        hub.fetch(REPOSITORY, "3" * 40)
    with pytest.raises(UserError, match=r"timm/other: .*\(no such repository, or no access to it\)"):
        hub.fetch("timm/other", OLD)


def test_an_interrupted_download_is_an_error_and_is_not_cached(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    served.files, served.cut = {(REPOSITORY, OLD, hub.FILE): file_of(1.0)}, 7
    with pytest.raises(UserError, match=r"timm/some-vit: .+--weights FILE"):
        hub.fetch(REPOSITORY, OLD)
    served.cut = 0
    assert hub.fetch(REPOSITORY, OLD).read_bytes() == file_of(1.0)


def test_a_damaged_file_in_the_cache_is_rejected_with_its_hash(served: Hub) -> None:
    served.files = {(REPOSITORY, OLD, hub.FILE): file_of(1.0)}
    path = hub.fetch(REPOSITORY, OLD)
    path.write_bytes(file_of(3.0))
    found, promised = (hashlib.sha256(file_of(value)).hexdigest() for value in (3.0, 1.0))
    with pytest.raises(UserError, match=rf"{found}.*{promised}"):
        read(path, hub.promised_hash(path))


def test_an_unreachable_or_unresponsive_hub_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        use(monkeypatch, port, tmp_path)
        with pytest.raises(UserError, match=r"timm/some-vit: .+--weights FILE") as caught:
            hub.fetch(REPOSITORY, OLD)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"\(.*[Cc]onnect.*\);.* --weights FILE"):
        hub.fetch(REPOSITORY, OLD)


def test_a_backbone_is_loaded_from_the_hub_at_its_pinned_revision(served: Hub) -> None:
    torch.manual_seed(0)
    native = timm.create_model("vit_small_patch14_dinov2.lvd142m", num_classes=0)
    repository, revision = "timm/vit_small_patch14_dinov2.lvd142m", str(find_backbone("dinov2-s").revision)
    content = save(native.state_dict())
    served.files = {(repository, revision, hub.FILE): content}
    backbone = build_backbone("dinov2-s")
    assert torch.equal(backbone.vit.blocks[3].mlp.fc1.weight, native.blocks[3].mlp.fc1.weight)
    assert backbone.facts()["origin"] == f"{repository}@{revision} (SHA-256 {hashlib.sha256(content).hexdigest()})"
    with pytest.raises(UserError, match=r"revision other.*--revision"):
        build_backbone("dinov2-s", revision="other")


def test_the_command_reports_an_unreachable_hub_in_one_line(tmp_path: Path) -> None:
    words = ["run", "--quick", "--methods", "freeze", "--backbone", "dinov2-s", "--records", str(tmp_path / "runs")]
    done = call(*words, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "home"))
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 2
    assert line.startswith("error: timm/vit_small_patch14_dinov2.lvd142m: ")
    assert "HF_HUB_OFFLINE" in line
    assert line.endswith("--weights FILE")


def test_a_truncated_file_is_rejected_before_rendering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, cache = tmp_path / "w.safetensors", tmp_path / "cache"
    monkeypatch.setenv("DGSS_BENCHMARK_CACHE", str(cache))
    save_file({"a": torch.zeros(100)}, file)
    file.write_bytes(file.read_bytes()[:-4])
    fixed = protocol.load("streets@quick")
    wanted = request.plan(
        fixed, fixed.backbone, ["freeze", "lora"], [0], {}, data_root=place_for(fixed, None), folder=tmp_path / "runs",
        weights=file,
    )  # fmt: skip
    with pytest.raises(UserError, match=hashlib.sha256(file.read_bytes()).hexdigest()):
        sweep.run_pending(wanted, 1, Console(quiet=True))
    assert not cache.exists()
