"""BDD100K 10k, the semantic segmentation part (Yu et al., CVPR 2020): American streets in all weather.

There are two releases with the same ids: that of 2021 (``images/10k/<split>/<id>.jpg``,
``labels/sem_seg/masks/<split>/<id>.png``) and that of 2018 (``seg/images/<split>/<id>.jpg``,
``seg/labels/<split>/<id>_train_id.png``). Images of one and labels of the other are read together. Both unpack into a
folder ``bdd100k/``, which may be the root itself or be inside it. Labels are stored as train ids. The same labels as
colours (``labels/sem_seg/colormaps/``, ``seg/color_labels/``) are not read: sources disagree on the colours of wall and
fence.
"""

from __future__ import annotations

from pathlib import Path

from benchmark.data.folders import files, first_folder, none_but_colors
from benchmark.data.labels import LabelTable, table
from benchmark.data.samples import Listing, Reader, known_split

COLORS = dict.fromkeys(
    (f"{top}{place}" for top in ("bdd100k/", "") for place in ("labels/sem_seg/colormaps", "seg/color_labels")),
    "labels as colours, and sources disagree on those of wall and fence; unpack the ids beside it, labels/sem_seg/"
    "masks of bdd100k_sem_seg_labels_trainval.zip or seg/labels of the download of 2018",
)


class Bdd100k(Reader):
    """Reader of BDD100K 10k. Downloads of early 2021 lack four images and two labels of a split."""

    name = "bdd100k"
    home = "BDD100K, bdd-data.berkeley.edu (10k_images_*.zip, bdd100k_sem_seg_labels_trainval.zip)"
    licence = "own terms, education and research"
    size = "1.4 GB"
    splits = ("train", "val")
    orphans = 6

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``."""
        known_split(split, self)
        tops = (root / "bdd100k", root)
        images = first_folder((top / part / split for part in ("images/10k", "seg/images") for top in tops), self)
        labels = first_folder(
            (top / part / split for part in ("labels/sem_seg/masks", "seg/labels") for top in tops), self, COLORS
        )
        ids = files(labels, r"(?!.+_train_color\.)(.+?)(?:_train_id)?\.png")
        return Listing(
            files(images, r"(.+)\.jpg"), ids or none_but_colors(labels, r"(.+)_train_color\.png", "_train_id", self)
        )

    def table(self, label: Path) -> LabelTable:
        """Return the table of train ids."""
        return table("train_ids")


READER = Bdd100k()
