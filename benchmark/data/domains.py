"""The samples of a protocol's domains."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.data import location
from benchmark.data.alter import Altered
from benchmark.data.broken import refuse_broken
from benchmark.data.labels import IGNORE, Color
from benchmark.data.relabel import in_label_set
from benchmark.data.samples import Reader, Sample, SampleReader
from benchmark.data.views import Halved, Joint, Relabelled
from benchmark.labelsets import Merge
from benchmark.protocol import Protocol, Split


@dataclass(frozen=True)
class Domain:
    """The labelled frames of one domain.

    Attributes:
        dataset: name of the dataset; several names are joined by plus signs.
        samples: the frames, sorted by id.
        reader: reads their pixels.
        classes, colors: class names and colours, by train id.
        test_size: see ``Split``.
        notes: remarks on the files: known faults, missing frames, the label mapping, alterations.
        merge: maps predictions to ``classes``; None if those are the classes trained on.
    """

    dataset: str
    samples: list[Sample]
    reader: SampleReader
    classes: tuple[str, ...]
    colors: tuple[Color, ...]
    test_size: tuple[int, int] | None
    notes: tuple[str, ...]
    merge: Merge | None = None

    @classmethod
    def find(cls, split: Split, data_root: Path | None, protocol: Protocol | None = None) -> Domain:
        """Find the split's files; see :func:`benchmark.data.location.folder_of`.

        Labels are read in the label set that the protocol states for the split; without a protocol, in the dataset's.

        Raises:
            UserError: files are missing, do not have the dataset's layout, or are truncated; there is no merge of the
                dataset's classes into the label set.
        """
        reader = reader_of(split)
        samples, notes = reader.survey(location.folder_of(split.dataset, data_root), split.split)
        released = reader.released(split.split)
        if released is not None and len(samples) < released:
            notes = (*notes, f"{len(samples)} of the {released} frames of the official release")
        view: SampleReader = Halved(reader) if split.halve else reader
        if split.alter is not None:
            view = Altered(view, split.alter.name, split.alter.strength)
            notes = (*notes, f"altered: {split.alter.name}, strength {split.alter.strength}")
        classes, colors, merge = reader.classes, reader.colors, None
        if protocol is not None:
            labels, merge, lut, remarks = in_label_set(reader, split, protocol)
            classes, colors, notes = labels.names, labels.colors, (*notes, *remarks)
            view = view if lut is None else Relabelled(view, lut)
        chosen = _named(samples, split, reader)[: split.limit]
        refuse_broken(view, chosen)
        return cls(split.dataset, chosen, view, classes, colors, split.test_size, notes, merge)

    def require_labelled(self, name: str) -> None:
        """Check that some pixel has a label; frames are read until one does.

        Args:
            name: of the domain, for the message.

        Raises:
            UserError: every pixel of every frame is ignored, so nothing can be trained or scored on them.
        """
        for sample in self.samples:
            if (self.reader.read(sample)[1] != IGNORE).any():
                return
        raise UserError(
            f"{name} ({self.dataset}): no pixel of its {len(self.samples)} labels has one of the protocol's classes, "
            f"first {self.samples[0].label}; restore the labels, or choose another split or label set"
        )

    def require_unseen(self, name: str, source: Domain) -> None:
        """Check that no frame is trained on.

        Args:
            name: of the domain, for the message.
            source: the training images.

        Raises:
            UserError: the same file is in both.
        """
        trained = {sample.image for sample in source.samples}
        if both := [sample.image for sample in self.samples if sample.image in trained]:
            raise UserError(
                f"{name} ({self.dataset}): {len(both)} of its {len(self.samples)} frames are trained on, first "
                f"{both[0]}; choose another split"
            )

    @classmethod
    def joined(cls, splits: Iterable[Split], data_root: Path | None, protocol: Protocol | None = None) -> Domain:
        """Return the frames of all splits as one domain.

        With several splits, the dataset's name is put before each sample id.

        Raises:
            UserError: see ``find``, or the splits have different classes.
        """
        parts = [cls.find(split, data_root, protocol) for split in splits]
        if len(parts) == 1:
            return parts[0]
        for part in parts:
            if part.classes != parts[0].classes:
                raise UserError(
                    f"source: {part.dataset} and {parts[0].dataset} have different classes; remove one of them"
                )
        return replace(
            parts[0],
            dataset="+".join(part.dataset for part in parts),
            samples=[replace(sample, id=f"{part.dataset}/{sample.id}") for part in parts for sample in part.samples],
            reader=Joint({part.dataset: part.reader for part in parts}),
            notes=tuple(f"{part.dataset}: {note}" for part in parts for note in part.notes),
        )


def _named(samples: list[Sample], split: Split, reader: Reader) -> list[Sample]:
    """Return the samples that the split names; all if it names none.

    Raises:
        UserError: some of them are missing.
    """
    if split.frames is None:
        return samples
    wanted = set(split.frames)
    found = [sample for sample in samples if sample.id in wanted]
    if missing := wanted - {sample.id for sample in found}:
        raise UserError(
            f"{split.dataset}: {len(missing)} of the {len(wanted)} frames that the protocol names are not in split "
            f"{split.split!r}, first {min(missing)}; get them from {reader.home}"
        )
    return found


def files_hash(domains: Mapping[str, Domain]) -> str:
    """Return a hash of every sample's id and file sizes, over all ``domains`` by name."""
    digest = hashlib.sha256()
    for name, domain in domains.items():
        digest.update(f"{name}:{domain.dataset}\n".encode())
        for sample in domain.samples:
            sizes = f"{sample.image.stat().st_size} {sample.label.stat().st_size}"
            digest.update(f"{sample.id} {sizes}\n".encode())
    return digest.hexdigest()


def reader_of(split: Split) -> Reader:
    """Return the reader of the split's dataset, with the split's label mapping.

    Raises:
        UserError: the dataset or the mapping is unknown.
    """
    reader: Reader = registry.find("dataset", split.dataset)
    return reader.using(split.mapping)
