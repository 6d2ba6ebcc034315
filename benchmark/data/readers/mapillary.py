"""Mapillary Vistas (Neuhold et al., ICCV 2017): streets of the whole world, any camera.

Trees: v1.2 as ``config.json``, ``validation/{images,labels}``; v2.0 as ``config_v1.2.json``,
``config_v2.0.json``, ``validation/images``, ``validation/{v1.2,v2.0}/labels``. Where both label sets are
there, v1.2 is read, since published results rest on it. A label is a palette image whose index is the
position in the config's list; the list found is read, never assumed, and its names are mapped to train ids.
Other tools leave ``<key>_labelTrainIds.png`` beside the originals, which are passed over.

Two mappings are in use. ``rein`` groups widely: a bike lane or a crosswalk is road, a curb cut is sidewalk, a street
light is pole. ``hrda``, RobustNet's as well, makes these ignore, but a manhole road; it knows v1.2 alone.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from benchmark.common.errors import UserError, nearest
from benchmark.data.labels import FACTS, LabelTable
from benchmark.data.samples import Listing, Reader, files, first_folder, folder, known_split

NAMES = {"rein": "mapillary_names", "hrda": "mapillary_names_hrda"}
# The field's names of the splits, and the dataset's own.
FOLDERS = {"train": "training", "val": "validation", "training": "training", "validation": "validation"}
# Where a release keeps its labels within a split, and the configs that may describe them.
RELEASES = {
    "v1.2/labels": ("config_v1.2.json",),
    "labels": ("config.json", "config_v1.2.json", "config_v2.0.json"),
    "v2.0/labels": ("config_v2.0.json",),
}


class Mapillary(Reader):
    """Reader of Mapillary Vistas v1.2 and v2.0."""

    name = "mapillary"
    home = "Mapillary Vistas, mapillary.com/dataset/vistas (..._public_v1.2.zip or ..._public_v2.0.zip)"
    splits = tuple(FOLDERS)
    mappings = tuple(NAMES)
    mapping = "rein"

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``."""
        known_split(split, self)
        part = root / FOLDERS[split]
        images = folder(part / "images", self)
        labels = first_folder((part / place for place in RELEASES), self)
        note = f"labels of {labels.relative_to(part)} by {_config(labels).name}, mapping {self.mapping}"
        return Listing(files(images, r"(.+)\.jpg"), files(labels, r"(.+)(?<!_labelTrainIds)\.png"), (note,))

    def table(self, label: Path) -> LabelTable:
        """Return the table that the config of the label's release describes.

        Raises:
            UserError: the config is missing, ambiguous, malformed, or names a class that the mapping does not know.
        """
        config = _config(label.parent)
        return _table(config, config.stat().st_mtime_ns, self.mapping)


def _config(labels: Path) -> Path:
    """Return the config that describes the folder ``labels``.

    Raises:
        UserError: there is none, or labels without a release's name have one of either release.
    """
    deep = labels.parent.name in ("v1.2", "v2.0")
    root = labels.parents[2 if deep else 1]
    candidates = [root / name for name in RELEASES[f"{labels.parent.name}/labels" if deep else "labels"]]
    found = [path for path in candidates if path.is_file()]
    if not found:
        raise UserError(f"mapillary: {candidates[0]} is missing, and labels mean nothing without it; it is in the zip")
    if len(found) > 1 and found[0] != candidates[0]:
        raise UserError(
            f"mapillary: {labels} may be of either release, {found[0].name} or {found[1].name}; "
            f"copy the one that it came with to {candidates[0]}"
        )
    return found[0]


@lru_cache(maxsize=8)
def _table(config: Path, modified: int, mapping: str) -> LabelTable:
    known: dict[str, int] = FACTS[NAMES[mapping]]["train_ids"]
    try:
        entries = json.loads(config.read_text(encoding="utf-8"))["labels"]
        names = [str(entry["readable"]) for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{config}: no list 'labels' of classes with 'readable' names ({error!r})") from error
    if strange := next((name for name in names if name not in known), None):
        if mapping == "hrda" and strange in FACTS[NAMES["rein"]]["train_ids"]:
            raise UserError(f"{config}: mapping 'hrda' knows Vistas v1.2, not {strange!r} of v2.0; use mapping 'rein'")
        raise UserError(f"{config}: unknown class {strange!r}; {nearest(strange, known)}")
    return LabelTable.of({index: known[name] for index, name in enumerate(names)})


READER = Mapillary()
