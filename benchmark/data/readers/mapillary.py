"""Mapillary Vistas (Neuhold et al., ICCV 2017): streets all over the world, from many cameras.

Trees: v1.2 has ``config.json`` and ``validation/{images,labels}``; v2.0 has ``config_v1.2.json``,
``config_v2.0.json``, ``validation/images`` and ``validation/{v1.2,v2.0}/labels``. If both label sets exist, v1.2 is
read, since published results use it. Labels are palette images whose index is the position of the class in the
config's list. The list is always read from the config, and its class names are mapped to train ids. Other tools add
``<key>_labelTrainIds.png`` files; these are ignored.

Papers use one of two mappings. ``rein`` maps more classes: a bike lane or a crosswalk is road, a curb cut is sidewalk,
a street light is pole. ``hrda``, also RobustNet's, ignores these, but maps a manhole to road; it supports v1.2 only.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from benchmark.common import reading, strict_json
from benchmark.common.errors import UserError, nearest
from benchmark.data.folders import files, first_folder
from benchmark.data.labels import FACTS, IGNORE, LabelTable
from benchmark.data.samples import Listing, Reader, known_split

NAMES = {"rein": "mapillary_names", "hrda": "mapillary_names_hrda"}
# Folder of each split, by the usual names and by the dataset's own.
FOLDERS = {"train": "training", "val": "validation", "training": "training", "validation": "validation"}
# Label folder within a split, and the configs that may describe its labels, by release.
RELEASES = {
    "v1.2/labels": ("config_v1.2.json",),
    "labels": ("config.json", "config_v1.2.json", "config_v2.0.json"),
    "v2.0/labels": ("config_v2.0.json",),
}
AGAIN = "restore it from the zip"
CONVERTED = {
    "half": "a copy made for Rein, with images at half their size that were compressed again; unpack the download "
    "beside it (the option halve of a split halves the originals)",
    "cityscapes_trainIdLabel": "labels converted for Rein; unpack the download beside them",
}


class Mapillary(Reader):
    """Reader of Mapillary Vistas v1.2 and v2.0."""

    name = "mapillary"
    home = "Mapillary Vistas, mapillary.com/dataset/vistas (..._public_v1.2.zip or ..._public_v2.0.zip)"
    licence = "CC BY-NC-SA 4.0 (research edition)"
    size = "25 GB"
    splits = tuple(FOLDERS)
    mappings = tuple(NAMES)
    mapping = "rein"

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``."""
        known_split(split, self)
        part = root / FOLDERS[split]
        images = first_folder((part / "images",), self, CONVERTED)
        labels = first_folder((part / place for place in RELEASES), self)
        note = f"labels in {labels.relative_to(part)} read with {_config(labels).name}, mapping {self.mapping}"
        return Listing(files(images, r"(.+)\.jpg"), files(labels, r"(.+)(?<!_labelTrainIds)\.png"), (note,))

    def table(self, label: Path) -> LabelTable:
        """Return the table for the config of the label's release.

        Raises:
            UserError: the config is missing, ambiguous or malformed, or contains a class that the mapping lacks.
        """
        config = _config(label.parent)
        try:
            modified = reading.require_regular(config).st_mtime_ns
        except OSError as error:
            raise _bad(config, error) from error
        return _table(config, modified, self.mapping)


def _config(labels: Path) -> Path:
    """Return the config that describes the labels in the folder ``labels``.

    Raises:
        UserError: there is none, or the folder does not name its release and there are configs of both releases.
    """
    deep = labels.parent.name in ("v1.2", "v2.0")
    root = labels.parents[2 if deep else 1]
    candidates = [root / name for name in RELEASES[f"{labels.parent.name}/labels" if deep else "labels"]]
    found = [path for path in candidates if reading.present(path)]
    if not found:
        raise UserError(f"mapillary: {candidates[0]}, which defines the labels, is missing; {AGAIN}")
    if len(found) > 1 and found[0] != candidates[0]:
        raise UserError(
            f"mapillary: {labels} may belong to {found[0].name} or {found[1].name}; "
            f"copy the config that came with these labels to {candidates[0]}"
        )
    return found[0]


@lru_cache(maxsize=8)
def _table(config: Path, modified: int, mapping: str) -> LabelTable:
    known: dict[str, int] = FACTS[NAMES[mapping]]["train_ids"]
    try:
        entries = strict_json.load(reading.read_text(config))["labels"]
        names = [str(entry["readable"]) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _bad(config, error) from error
    if not 0 < len(names) < IGNORE:
        raise UserError(f"{config}: {len(names)} classes in 'labels', which 8-bit labels cannot have; {AGAIN}")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{config}: class {twice!r} is in 'labels' twice; {AGAIN}")
    if unknown := next((name for name in names if name not in known), None):
        if mapping == "hrda" and unknown in FACTS[NAMES["rein"]]["train_ids"]:
            raise UserError(
                f"{config}: mapping 'hrda' supports Vistas v1.2 only, and {unknown!r} is a class of v2.0; "
                "use mapping 'rein'"
            )
        raise UserError(f"{config}: unknown class {unknown!r}; {nearest(unknown, known)}")
    return LabelTable.of({index: known[name] for index, name in enumerate(names)})


def _bad(config: Path, error: Exception) -> UserError:
    said = (isinstance(error, OSError) and error.strerror) or f"{type(error).__name__}: {error}"
    return UserError(f"{config}: no list 'labels' of classes with 'readable' names ({said:.200}); {AGAIN}")


READER = Mapillary()
