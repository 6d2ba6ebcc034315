"""Write, find, read and verify records."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from benchmark.common import reading, strict_json
from benchmark.common.atomic import write_files, writing
from benchmark.common.errors import UserError, nearest
from benchmark.records.model import SCHEMA_VERSION, SOURCE, TOLERANCE, Record, Score, Sidecar, misplaced
from benchmark.records.seal import edited, sealed

AGAIN = "restore the file, or run it again with --force"
Matrices = Mapping[str, npt.NDArray[Any]]
Ids = Mapping[str, Sequence[str]]
SIDECARS = {
    "confusion": ".npz",
    "examples": ".examples.npz",
    "delta": ".delta.safetensors",
    "tuned": ".tuned.safetensors",
    "decoder": ".decoder.safetensors",
}
"""Suffixes of the files in the folder of a record, by its fields."""
UNREADABLE = (
    AttributeError, EOFError, KeyError, MemoryError, NotImplementedError, OSError, TypeError, ValueError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""Exceptions that NumPy raises for an archive of anything but plain arrays."""
PLACE = 6
"""Most parts of a field's name in a message; values may be nested deeply."""
MEMBER = 4096
"""Bytes that an image's name, or an archive's headers, may need beside the counts."""
COMMITTED = Path(__file__).resolve().parents[2] / "results"
"""Folder of the suite's own records; only a copy of the repository has it."""
STABILITY = ".stability.json"
"""Suffix of the files of :mod:`benchmark.stability`, which are in the same folders but are not records."""
Kind = TypeVar("Kind", bound=BaseModel)


def path_of(root: Path, protocol: str, backbone: str, method: str, seed: int) -> Path:
    """Return the path of a run's record.

    Raises:
        UserError: a name that cannot be a folder name (such as a hyperparameter value with a slash) or is too long.
    """
    for kind, name in (("protocol", protocol), ("backbone", backbone), ("method", method)):
        if fault := misplaced(kind, name):
            raise UserError(fault)
    return Path(root) / protocol / backbone / method / f"seed{seed}.json"


def paths(root: Path) -> Iterator[Path]:
    """Yield every JSON file below ``root``, sorted, except hidden files and those of checkpoints and stability.

    Folders of such a name are included, so that reading them fails instead of passing them over. Links to folders are
    followed.

    Raises:
        UserError: a folder cannot be listed, a link leads nowhere or to a folder above it, or ``root`` is no folder.
    """
    if reading.present(root) and not os.path.isdir(root):
        what = "a file" if os.path.exists(root) else "a link to nothing"
        raise UserError(f"--records {root}: {what}, not a folder; give the folder of the records")
    for folder, below, files in os.walk(root, onerror=_unlisted, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith(".") and Path(name).suffix != ".checkpoint")
        for name in sorted([*files, *below]):
            path = Path(folder, name)
            if name.startswith("."):
                continue
            if path.is_symlink():
                _require_end(path)
            if name.lower().endswith(".json") and not name.endswith(STABILITY):
                yield path


def _require_end(link: Path) -> None:
    """Check that a link to a folder of records leads somewhere, and not to a folder that contains it.

    Raises:
        UserError: it does not. The link of a run's file is checked when the file is read.
    """
    if link.name.startswith("seed"):
        return
    if not os.path.exists(link):
        raise UserError(f"{link}: a link to {os.readlink(link)}, which is not there; mend or remove it")
    if os.path.isdir(link) and Path(os.path.realpath(link.parent)).is_relative_to(os.path.realpath(link)):
        raise UserError(f"{link}: a link to {os.path.realpath(link)}, a folder above it; remove the link")


def _unlisted(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise UserError(f"{error.filename}: cannot be listed: {error.strerror}; make the folder readable") from error


# -- writing -------------------------------------------------------------------------------------------


def write(record: Record, confusion: Matrices, ids: Ids, root: Path, more: Mapping[str, bytes] | None = None) -> Path:
    """Write a record and its files; return the path of the record.

    An older record is removed first and the new one is written last: even if the process is killed, a record never
    refers to files of another run.

    Args:
        record: of a finished or failed run.
        confusion: (images, C, C) pixel counts, [truth, prediction], of ``source`` and every target, or
            (images, C, C + 1) of a target with merged classes; empty for a failed run.
        ids: image names, in the same order.
        root: the folder of all records.
        more: further files of a finished run, by field: ``examples``; ``delta`` or ``tuned``, and ``decoder``.

    Raises:
        UserError: no permission or no space; an older record is kept.
        ValueError: a score in the record differs from the confusion matrices.
    """
    path = path_of(root, record.protocol, record.backbone, record.method, record.seed)
    contents: dict[str, bytes] = {}
    if record.state == "finished":
        wrong = _disagreement(record, confusion, ids)
        if wrong:
            raise ValueError(f"{record.name}: {wrong}")
        contents = {"confusion": _pack(confusion, ids), **(more or {})}
    places = {field: path.with_suffix(suffix) for field, suffix in SIDECARS.items()}
    record = record.model_copy(
        update={
            field: Sidecar(file=places[field].name, sha256=hashlib.sha256(packed).hexdigest())
            for field, packed in contents.items()
        }
    )
    files = {places[field]: packed for field, packed in contents.items()}
    with writing(path):
        write_files(files | {path: sealed(record.model_dump(mode="json"))})
        for place in places.values():
            if place not in files:
                place.unlink(missing_ok=True)
    return path


def _pack(confusion: Matrices, ids: Ids) -> bytes:
    arrays: dict[str, npt.NDArray[Any]] = {}
    for domain, matrices in confusion.items():
        if matrices.max(initial=0) > np.iinfo(np.int32).max:
            raise ValueError(f"{domain}: a pixel count of an image exceeds int32")
        arrays[f"{domain}/confusion"] = matrices.astype(np.int32)
        arrays[f"{domain}/ids"] = np.array(list(ids[domain]), dtype=np.str_)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


# -- reading -------------------------------------------------------------------------------------------


def read(path: Path, *, verify: bool = True) -> Record:
    """Read and check one record; with ``verify``, also compute its scores from the per-image confusion matrices.

    Raises:
        UserError: unreadable, truncated, of another schema version, edited, or scores that differ from the confusion
            matrices; the message names the file, the field and the remedy.
    """
    path = Path(path)
    record = unsealed(path, Record)
    record._path = path
    if verify and record.state == "finished":
        try:
            disagreement = _disagreement(record, *confusions(record))
        except ValueError:
            disagreement = "confusion: no score can be computed from these counts"
        if disagreement:
            raise UserError(f"{path}: {disagreement}; {AGAIN}")
    return record


def unsealed(path: Path, kind: type[Kind]) -> Kind:
    """Read a file written by :func:`benchmark.records.seal.sealed` as a model of this kind.

    Raises:
        UserError: unreadable, truncated, of another schema version, edited, or not of this kind.
    """
    try:
        packed = reading.read_bytes(path, reading.TEXT_LIMIT)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    return unpacked(packed, path, kind)


def unpacked(packed: bytes, path: Path, kind: type[Kind]) -> Kind:
    """Return the content of such a file as a model of this kind; ``path`` is for messages.

    Raises:
        UserError: as :func:`unsealed`.
    """
    fields = _parse(packed, path)
    wrong = edited(fields)
    if wrong:
        raise UserError(f"{path}: {', '.join(wrong)}: edited after the run; {AGAIN}")
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"][:PLACE]))
        fault = (f"{place}: " if place else "") + first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: {fault}; {AGAIN}") from error


def read_all(root: Path, *, verify: bool = False, checkpoints: bool = False) -> list[Record]:
    """Read every record below ``root``, sorted by path. Each ``*.json`` must be a record; other files are ignored.

    Args:
        root: a folder of records, or one of its subfolders.
        verify: also compute every score from the confusion matrices, which takes far longer.
        checkpoints: also return those of released checkpoints, which were not trained here.

    Raises:
        UserError: as :func:`read`; no records; two records of the same run.
    """
    found: dict[str, Record] = {}
    for path in paths(root):
        record = read(path, verify=verify)
        twin = found.setdefault(record.name, record)
        if twin is not record:
            raise UserError(f"{path}: seed: same run as {twin.path}; remove the copy")
    found = {name: record for name, record in found.items() if checkpoints or record.checkpoint is None}
    if not found:
        raise UserError(f"{root}: no records here; create some with: python -m benchmark run")
    return list(found.values())


def find(which: str, records: Path) -> Record:
    """Return the record with this path, name or unique part of a name.

    Raises:
        UserError: no such record, or several.
    """
    if os.path.lexists(which) and not os.path.isdir(which):
        return read(Path(which))
    known = {str(path.relative_to(records).with_suffix("")): path for path in paths(records)}
    found = [name for name in known if f"/{which}/".lower() in f"/{name}/".lower()]
    if len(found) > 1:
        raise UserError(f"{which!r} matches {len(found)} records; give one of: {', '.join(sorted(found))}")
    if not found:
        parts = {part for name in known for part in name.split("/")}
        close = nearest(which, parts if len(known) > 9 else known)
        raise UserError(
            f"no record {which!r} in {records}: {close}; for all: python -m benchmark list runs --records {records}"
        )
    return read(known[found[0]])


def confusions(record: Record) -> tuple[dict[str, npt.NDArray[np.int32]], dict[str, list[str]]]:
    """Return the per-image confusion matrices of a stored record, (images, C, C) by domain, and the image names.

    Raises:
        UserError: the file is missing, its hash differs from the record, or it does not contain plain arrays.
    """
    limit = MEMBER + sum(
        score.images * (8 * len(score.iou) * record.predicted(domain) + MEMBER)
        for domain, score in record.scores().items()
    )
    try:
        found = arrays(record, "confusion", limit)
        domains = [key.removesuffix("/ids") for key in found if key.endswith("/ids")]
        matrices = {domain: _counts(found[f"{domain}/confusion"]) for domain in domains}
        ids = {domain: np.atleast_1d(found[f"{domain}/ids"]).tolist() for domain in domains}
    except UNREADABLE as error:
        raise UserError(f"{record.path}: confusion: not an archive of plain arrays ({error}); {AGAIN}") from None
    return matrices, ids


def arrays(record: Record, field: str, limit: int) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of the archive that ``field`` of a stored record names.

    Args:
        record: a stored record.
        field: ``confusion`` or ``examples``.
        limit: the most bytes that they may have in all once unpacked: a small archive can hold any number of zeros.

    Raises:
        UserError: as :func:`content`.
        ValueError: the arrays are larger, or they are not plain arrays; or another of :data:`UNREADABLE`.
    """
    packed = io.BytesIO(content(record, field))
    with zipfile.ZipFile(packed) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > limit:
        raise ValueError(f"{size} bytes unpacked, more than the {limit} that the record's images need")
    packed.seek(0)
    with np.load(packed, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def _counts(matrices: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the matrices if they are counts.

    Raises:
        ValueError: negative or not integers.
    """
    if matrices.dtype.kind not in "iu" or matrices.min(initial=0) < 0:
        raise ValueError("not pixel counts")
    return matrices


def content(record: Record, field: str) -> bytes:
    """Return the content of the file that ``field`` (of :data:`SIDECARS`) of a stored record names.

    Raises:
        UserError: the file is missing, or its hash differs from the record.
    """
    sidecar: Sidecar | None = getattr(record, field)
    if record.path is None or sidecar is None:
        raise UserError(f"{record.path or record.name}: {field}: not stored; run it again with --force")
    path = record.path.with_name(Path(sidecar.file).name)
    try:
        packed = reading.read_bytes(path, reading.ARCHIVE_LIMIT)
    except OSError as error:
        raise UserError(f"{path}: needed by {record.path.name}: {error.strerror or error}; {AGAIN}") from error
    if hashlib.sha256(packed).hexdigest() != sidecar.sha256:
        raise UserError(f"{path}: does not match {record.path.name} ({field}.sha256 differs); {AGAIN}")
    return packed


def _parse(packed: bytes, path: Path) -> dict[str, Any]:
    try:
        fields = strict_json.load(packed.decode("utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON, perhaps truncated ({error}); {AGAIN}") from error
    if not isinstance(fields, dict) or "schema_version" not in fields:
        raise UserError(f"{path}: schema_version: missing, so this is not a record; move the file elsewhere")
    version = fields["schema_version"]
    if type(version) is not int or version != SCHEMA_VERSION:  # True and 1.0 equal 1
        raise UserError(
            f"{path}: schema_version: {version!r}, expected {SCHEMA_VERSION}; "
            "use the version of the program that wrote it, or run it again with --force"
        )
    return fields


def _disagreement(record: Record, confusion: Matrices, ids: Ids) -> str | None:
    """Return the first difference between the recorded scores and those of the confusion matrices, or None."""
    scores = record.scores()
    if not set(scores) == set(confusion) == set(ids):
        return f"confusion: domains {', '.join(sorted(confusion))}, but scores of {', '.join(sorted(scores))}"
    for domain, score in scores.items():
        field = SOURCE if domain == SOURCE else f"targets.{domain}"
        classes, columns = len(score.iou), record.predicted(domain)
        if confusion[domain].shape != (len(ids[domain]), classes, columns):
            shape = "x".join(map(str, confusion[domain].shape))
            return f"{field}: confusion of shape {shape}, but {len(ids[domain])} images and {classes} classes"
        truth = Score.of(confusion[domain])
        if score.images != truth.images:
            return f"{field}.images: {score.images}, but {truth.images} confusion matrices"
        if abs(score.miou - truth.miou) > TOLERANCE:
            return f"{field}.miou: {score.miou:.9f}, but {truth.miou:.9f} from the confusion matrices"
        for name, stated, computed in zip(record.classes_of(domain), score.iou, truth.iou, strict=True):
            if (stated is None) != (computed is None) or abs((stated or 0) - (computed or 0)) > TOLERANCE:
                return f"{field}.iou of {name}: {stated}, but {computed} from the confusion matrices"
    return None
