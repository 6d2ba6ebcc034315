"""Read a split's labels in the label set in which the protocol trains or scores."""

from __future__ import annotations

import numpy as np

from benchmark import labelsets
from benchmark.common.errors import UserError
from benchmark.data.labels import IGNORE, Bytes
from benchmark.data.samples import Reader
from benchmark.labelsets import LabelSet, Merge
from benchmark.protocol import Protocol, Split


def in_label_set(
    reader: Reader, split: Split, protocol: Protocol
) -> tuple[LabelSet, Merge | None, Bytes | None, tuple[str, ...]]:
    """Return how to read and score a split.

    Pixels are ignored if their class has no counterpart in the label set, or if no class trained on is merged into it.

    Returns:
        the label set; the merge of predictions into it, None if it has the classes trained on; uint8 (256,), the new
        train id of each train id of the reader, None if they are the same; and notes.

    Raises:
        UserError: the label set states no merge from the classes of the reader; the message names both.
    """
    labels = protocol.label_set(split.scored_in)
    merge = labelsets.merge(protocol.label_set(), labels)
    lut = np.full(256, IGNORE, np.uint8)
    notes: tuple[str, ...] = ()
    if reader.classes == labels.names:
        lut[: len(labels.classes)] = range(len(labels.classes))
    else:
        of = _merged_from(reader, labels, protocol)
        index = np.array(of.index)
        lut[: len(index)] = np.where(index < len(labels.classes), index, IGNORE)
        lost = f"; ignored: {', '.join(of.wrong)}" if of.wrong else ""
        notes = (f"{len(reader.classes)} classes merged into the {len(labels.classes)} of {labels.name}{lost}",)
    for name in merge.excluded if merge else ():
        lut[lut == labels.names.index(name)] = IGNORE
    same = (lut[: len(labels.classes)] == np.arange(len(labels.classes))).all() and reader.classes == labels.names
    return labels, merge, None if same else lut, notes


def _merged_from(reader: Reader, labels: LabelSet, protocol: Protocol) -> Merge:
    for other in (protocol.label_set(name) for name in labels.merges):
        if other.names == reader.classes and (found := labelsets.merge(other, labels)):
            return found
    own = next((name for name in labelsets.shipped() if labelsets.find(name).names == reader.classes), "")
    theirs = own or f"{', '.join(reader.classes[:3])}, ..."
    fix = f"score it in its own (scored_in: {own}), or add" if own else "add"
    raise UserError(
        f"{reader.name} is labelled in {len(reader.classes)} classes ({theirs}), and label set {labels.name!r} states "
        f"no merge from them; {fix} one to merges of a label set of your own"
    )
