"""No input executes code: a pickle that would create a file replaces each input in turn, and none is executed."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from torch import nn

from benchmark import protocol, records
from benchmark.artifacts.delta import apply_delta, load_decoder
from benchmark.cli import listing
from benchmark.common.errors import UserError
from benchmark.data.decoding import read_ids, read_image
from benchmark.data.readers import camvid, gta5, mapillary
from benchmark.figures import _command
from benchmark.models import hub
from benchmark.models.backbone import build_backbone
from benchmark.models.weights import read
from benchmark.pretrain.frames import FrameStore
from benchmark.records.seal import sealed
from benchmark.runs import request as requests
from benchmark.runs import tune
from benchmark.sharing.export import export
from benchmark.stability.record import read as read_stability
from benchmark.tables import command
from benchmark.training import checkpoint
from tests.backbones import tiny_backbone
from tests.data.trees import TREES
from tests.records.made import stored

ROOT = Path(__file__).resolve().parent.parent

UNSAFE = ("pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve")


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.mark, "w")


def pickled(bomb: Bomb) -> bytes:
    return pickle.dumps(bomb)


def as_torch(bomb: Bomb) -> bytes:
    buffer = io.BytesIO()
    torch.save({"key": "mine", "state": bomb}, buffer)
    return buffer.getvalue()


def as_old_torch(bomb: Bomb) -> bytes:
    buffer = io.BytesIO()
    torch.save({"key": "mine", "state": bomb}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def as_array(bomb: Bomb) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([bomb], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def as_archive(bomb: Bomb) -> bytes:
    buffer = io.BytesIO()
    objects: dict[str, Any] = {
        "source/ids": np.array([bomb], dtype=object),
        "source/confusion": np.array([bomb], dtype=object),
    }
    np.savez(buffer, allow_pickle=True, **objects)
    return buffer.getvalue()


def as_json(bomb: Bomb) -> bytes:
    """Code as a JSON string, for readers that would evaluate or unpickle strings."""
    return json.dumps({"schema_version": 1, "labels": f"__import__('pathlib').Path({bomb.mark!r}).touch()"}).encode()


FORMS: dict[str, Callable[[Bomb], bytes]] = {
    "pickle": pickled, "torch": as_torch, "old-torch": as_old_torch, "npy": as_array, "npz": as_archive,
    "json": as_json,
}  # fmt: skip


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "went-off"


@pytest.fixture(params=FORMS)
def content(request: pytest.FixtureRequest, mark: Path) -> bytes:
    return FORMS[request.param](Bomb(mark))


def harmless(mark: Path, use: Callable[[], object], refused: bool = True) -> None:
    """Assert that ``use`` raises a one-line error (with ``refused=False``: no error) and executes nothing."""
    if refused:
        with pytest.raises(UserError) as caught:
            use()
        assert str(caught.value).isprintable()
    else:
        use()
    assert not mark.exists()


def test_unpickling_the_bomb_creates_the_file(mark: Path) -> None:
    for form in ("pickle", "torch", "npy"):
        planted = io.BytesIO(FORMS[form](Bomb(mark)))
        loaders: dict[str, Callable[[Any], object]] = {
            "pickle": pickle.load,
            "torch": lambda file: torch.load(file, weights_only=False),
            "npy": lambda file: np.load(file, allow_pickle=True),
        }
        loaders[form](planted)
        assert mark.exists()
        mark.unlink()


def test_weights(tmp_path: Path, mark: Path, content: bytes) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(content)
    harmless(mark, lambda: build_backbone("vit-tiny-random", weights=file))


def test_the_hubs_cache(tmp_path: Path, mark: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the cache promises the very hash that the planted file has."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit, store = "1" * 40, tmp_path / "hub" / "models--timm--some-vit"
    for folder in ("blobs", "refs", f"snapshots/{commit}"):
        (store / folder).mkdir(parents=True)
    blob = store / "blobs" / hashlib.sha256(content).hexdigest()
    blob.write_bytes(content)
    (store / "refs" / "main").write_text(commit)
    (store / "snapshots" / commit / hub.FILE).symlink_to(blob)
    path = hub.fetch("timm/some-vit", None)
    assert path.read_bytes() == content
    harmless(mark, lambda: read(path, hub.promised_hash(path)))


def test_a_delta_and_a_decoder(tmp_path: Path, mark: Path, content: bytes) -> None:
    file, backbone = tmp_path / "d.safetensors", tiny_backbone("plain")
    file.write_bytes(content)
    harmless(mark, lambda: apply_delta(backbone, file))
    harmless(mark, lambda: load_decoder(nn.Linear(1, 1), file))


def test_a_checkpoint(tmp_path: Path, mark: Path, content: bytes) -> None:
    file = tmp_path / "seed0.checkpoint"
    file.write_bytes(content)
    harmless(mark, lambda: checkpoint.read(file, "mine"), refused=False)
    assert checkpoint.read(file, "mine") is None


def test_a_folder_of_records(tmp_path: Path, mark: Path, content: bytes) -> None:
    """Replaces a record, each of its files (with matching hashes in the record), and a checkpoint."""
    whole = stored(tmp_path / "runs", "full", weights={"delta": b"delta", "decoder": b"decoder"}).path
    assert whole is not None
    fields = json.loads(whole.read_text())
    whole.with_name("seed1.checkpoint").write_bytes(content)
    for field in ("decoder", "delta", "confusion"):
        whole.with_name(fields[field]["file"]).write_bytes(content)
        fields[field]["sha256"] = hashlib.sha256(content).hexdigest()
        whole.write_bytes(sealed(fields))
        use_everything(tmp_path / "runs", mark, whole)
    harmless(mark, lambda: records.read(whole))
    harmless(mark, lambda: records.read_all(tmp_path / "runs", verify=True))
    whole.write_bytes(content)
    use_everything(tmp_path / "runs", mark, whole)
    harmless(mark, lambda: read_stability(whole))
    request = _command.Request(None, True, tmp_path / "runs", tmp_path / "figures", None, None, "", None)
    harmless(mark, lambda: _command.run(request))


def use_everything(runs: Path, mark: Path, record: Path) -> None:
    """List the records, print a table, and export one, which is rejected."""
    options: dict[str, Any] = {"name": None, "backbone": None, "methods": (), "published": False}
    harmless(mark, lambda: export(str(record), runs, runs.parent / "out.safetensors", True))
    listing.show("runs", runs)
    with suppress(UserError):
        command.run(runs, "main", "markdown", None, **options)
    assert not mark.exists()


def test_a_folder_of_the_search(tmp_path: Path, mark: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DGSS_BENCHMARK_CACHE", str(tmp_path / "cache"))
    full, short = (protocol.load("streets", variant) for variant in (tune.VARIANT, f"{tune.VARIANT}-short"))
    common: dict[str, Any] = {"data_root": tmp_path, "folder": tmp_path / "runs"}
    (method,) = tune.plan(full, full.backbone, ["lora"], [1e-3], {}, **common)
    for job in (tune.at(method, fixed, 1e-3) for fixed in (full, short)):
        job.record.parent.mkdir(parents=True)
        job.record.write_bytes(content)
        job.checkpoint.write_bytes(content)
    places: dict[str, Any] = {"backbone": None, "weights": None, "data_root": None, "records": tmp_path / "runs"}
    harmless(mark, lambda: tune.run("streets", "lora", "1e-3", **places, workers=1))


def test_files_of_a_data_set(tmp_path: Path, mark: Path, content: bytes) -> None:
    """Replaces images and labels that readers open, and the lists that they read."""
    for name, reader in (("camvid-segnet", camvid.READER), ("mapillary", mapillary.READER)):
        tree = TREES[name](tmp_path / name)
        sample = tree.reader.samples(tree.root, tree.split)[0]
        if name == "mapillary":
            (tree.root / "config.json").write_bytes(content)
            harmless(mark, lambda: reader.read(sample))  # noqa: B023
        for path in (sample.image, sample.label):
            path.write_bytes(content)
        for use in (lambda: read_image(sample.image), lambda: read_ids(sample.label), lambda: reader.read(sample)):  # noqa: B023
            harmless(mark, use)
    tree = TREES["gta5"](tmp_path / "gta5")
    (tree.root / "splits.json").write_bytes(content)
    harmless(mark, lambda: gta5.READER.samples(tree.root, "val"))


def test_rendered_frames_of_a_pre_training(tmp_path: Path, mark: Path, content: bytes) -> None:
    (tmp_path / "0000.npy").write_bytes(content)
    harmless(mark, lambda: FrameStore(tmp_path, 1, 1)[0])


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.mknod", "!!python/object/new:pathlib.Path", "!!python/name:os.mknod"]
)
def test_tags_of_yaml_in_protocols_and_settings(tmp_path: Path, mark: Path, tag: str) -> None:
    path, value = tmp_path / "mine.yaml", f"{tag} ['{mark}']"
    path.write_text(f"title: {value}\n")
    harmless(mark, lambda: protocol.load(str(path)))
    assert requests.parse_given([f"lora.rank={value}"]) == {"lora": {"rank": value}}
    assert not mark.exists()


def test_no_code_unpickles_or_evaluates() -> None:
    """Worker processes do exchange pickles, but only through their own pipes."""
    found, count = [], 0
    for path in (each for package in ("benchmark", "methods", "baselines") for each in (ROOT / package).rglob("*.py")):
        count += 1
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [f"{path.name}: {ast.unparse(node)}" for node in ast.walk(tree) if unsafe(node)]
    assert count > 100
    assert not found


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from dill import load", "import marshal, shelve", "torch.load(p)", "eval(t)", "exec(t)",
        "torch.load(p, weights_only=False)", "yaml.load(t)", "yaml.unsafe_load(t)", "np.load(p, allow_pickle=True)",
    ],
)  # fmt: skip
def test_unsafe_code_is_recognised(code: str) -> None:
    assert any(map(unsafe, ast.walk(ast.parse(code))))


def unsafe(node: ast.AST) -> bool:
    """Return whether a syntax node reads input in a way that can execute code."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        modules = [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        return any(
            name.split(".")[0] in ("pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve") for name in modules
        )
    if not isinstance(node, ast.Call):
        return False
    options = {
        each.arg: ast.unparse(each.value) for each in node.keywords if each.arg in ("weights_only", "allow_pickle")
    }
    name = ast.unparse(node.func)
    if name == "torch.load":
        return options.get("weights_only") != "True"
    return (
        name in ("eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load")
        or options.get("allow_pickle", "False") != "False"
    )
