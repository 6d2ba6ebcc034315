"""Mapillary Vistas (Neuhold et al., ICCV 2017): streets of the whole world, any camera.

Trees: v1.2 as ``config.json``, ``validation/{images,labels}``; v2.0 as ``config_v1.2.json``,
``config_v2.0.json``, ``validation/images``, ``validation/{v1.2,v2.0}/labels``. Where both label sets are
there, v1.2 is read, since published results rest on it. A label is a palette image whose index is the
position in the config's list; the list found is read, never assumed, and its names are mapped to train ids by
Rein's grouping (a bike lane or a crosswalk is road, a curb cut is sidewalk, a street light is pole; others
make these ignore).
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from benchmark.data.labels import FACTS, LabelTable
from benchmark.data.samples import Listing, Reader, files, first_folder, folder, known_split
from benchmark.errors import UserError, nearest

# The field's names of the splits, and the dataset's own.
FOLDERS = {"train": "training", "val": "validation", "training": "training", "validation": "validation"}
# Where a release keeps its labels within a split, and the configs that may describe them.
RELEASES = {
    "v1.2/labels": ("config_v1.2.json",),
    "labels": ("config.json", "config_v1.2.json"),
    "v2.0/labels": ("config_v2.0.json",),
}


class Mapillary(Reader):
    """Reader of Mapillary Vistas v1.2 and v2.0."""

    name = "mapillary"
    home = "Mapillary Vistas, mapillary.com/dataset/vistas (..._public_v1.2.zip or ..._public_v2.0.zip)"
    splits = tuple(FOLDERS)

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``."""
        known_split(split, self)
        part = root / FOLDERS[split]
        images = folder(part / "images", self)
        labels = first_folder((part / place for place in RELEASES), self)
        return Listing(files(images, r"(.+)\.jpg"), files(labels, r"(.+)\.png"))

    def table(self, label: Path) -> LabelTable:
        """Return the table that the config of the label's release describes.

        Raises:
            UserError: the config is missing, malformed, or names a class that neither release has.
        """
        deep = label.parents[1].name in ("v1.2", "v2.0")
        place = f"{label.parents[1].name}/labels" if deep else "labels"
        root = label.parents[3 if deep else 2]
        candidates = [root / name for name in RELEASES[place]]
        config = next((path for path in candidates if path.is_file()), None)
        if config is None:
            raise UserError(
                f"mapillary: {candidates[0]} is missing, and labels mean nothing without it; it is in the zip"
            )
        return _table(config, config.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _table(config: Path, modified: int) -> LabelTable:
    known: dict[str, int] = FACTS["mapillary_names"]["train_ids"]
    try:
        entries = json.loads(config.read_text(encoding="utf-8"))["labels"]
        names = [str(entry["readable"]) for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{config}: no list 'labels' of classes with 'readable' names ({error!r})") from error
    if strange := next((name for name in names if name not in known), None):
        raise UserError(f"{config}: unknown class {strange!r}; {nearest(strange, known)}")
    return LabelTable.of({index: known[name] for index, name in enumerate(names)})


READER = Mapillary()
