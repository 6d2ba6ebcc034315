"""Foggy Zurich (Dai et al., IJCV 2020): drives through real fog, of which forty frames are labelled.

Tree: ``RGB/<sequence>/<frame>.png`` and ``gt_labelIds/<sequence>/<frame>.png`` (or ``gt_labelTrainIds/``), in a folder
``Foggy_Zurich/``, which may or may not be the root itself. ``lists_file_names/RGB_<split>_filenames.txt`` says which
frames a split has; the field tests on ``testv2``.
"""

from __future__ import annotations

from pathlib import Path

from benchmark.common.errors import UserError
from benchmark.data.labels import LabelTable, cityscapes_table
from benchmark.data.samples import Listing, Reader, files, first_folder, folder, known_split

ENCODINGS = ("gt_labelTrainIds", "gt_labelIds")


class FoggyZurich(Reader):
    """Reader of Foggy Zurich's labelled frames: ``testv2`` (40), and its first version ``testv1`` (16)."""

    name = "foggy-zurich"
    home = "Foggy Zurich, people.ee.ethz.ch/~csakarid/Model_adaptation_SFSU_dense"
    splits = ("testv2", "testv1")

    def listing(self, root: Path, split: str) -> Listing:
        """See ``Reader.listing``; also raises where the split's list is missing or names frames that are not there."""
        known_split(split, self)
        rgb = first_folder((root / "Foggy_Zurich" / "RGB", root / "RGB"), self)
        places = [rgb.parent / name for name in ENCODINGS]
        images, labels = files(rgb, r"(.+)\.png", deep=True), dict[str, Path]()
        for place in [place for place in places if place.is_dir()] or [folder(places[-1], self)]:
            labels |= files(place, r"(.+)\.png", deep=True)
        path = rgb.parent / "lists_file_names" / f"RGB_{split}_filenames.txt"
        listed = self._listed(path)
        if gone := [key for key in listed if key not in images and key not in labels]:
            missing = f"{len(gone)} of its {len(listed)} frames are missing, first {gone[0]!r}"
            raise UserError(f"{path}: {missing}; get them from {self.home}")
        keep = set(listed)
        return Listing(
            {key: image for key, image in images.items() if key in keep},
            {key: label for key, label in labels.items() if key in keep},
        )

    def _listed(self, path: Path) -> list[str]:
        try:
            lines = path.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"foggy-zurich: {path} cannot be read ({error}), and without it no frame is known to belong to the "
                f"split; it is part of {self.home}"
            ) from None
        return [line.lstrip("/").removeprefix("RGB/").removesuffix(".png") for line in lines]

    def table(self, label: Path) -> LabelTable:
        """Return the table that the label's folder names."""
        return cityscapes_table(next(part for part in reversed(label.parts) if part in ENCODINGS))


READER = FoggyZurich()
