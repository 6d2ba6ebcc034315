"""Cases of evaluation: ``mode/NAME`` for every mode, merged predictions, confusion matrices and mIoU, label sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import torch

from benchmark import labelsets
from benchmark.check.micro import tiny
from benchmark.check.micro.digest import Numbers, noise
from benchmark.common import statistics
from benchmark.data.loader import EvaluationItem
from benchmark.data.relabel import in_label_set
from benchmark.evaluation.evaluate import confusion, evaluate, merged
from benchmark.labelsets import LabelSet
from benchmark.protocol import Evaluation, Split

SIZES = ((44, 52), (31, 57), (57, 31), (16, 16))
WINDOWS = ((24, 16), (24, 24), (20, 7), (32, 5), (64, 64))
"""Side and step of sliding windows: overlaps of all kinds, and windows larger than the image."""
OPTIONS: dict[str, tuple[dict[str, int], ...]] = {
    "slide": tuple({"crop": crop, "stride": stride} for crop, stride in WINDOWS)
}
"""Further fields of evaluation modes that need them."""
PARTS = {
    "name": "parts", "classes": [{"name": name, "color": [3 * place, 0, 9]} for place, name in enumerate("pqr")],
    "merges": {"wholes": {"p": ["a", "d"], "q": ["c"]}},
}  # fmt: skip
WHOLES = {
    "name": "wholes", "classes": [{"name": name, "color": [0, place, 9]} for place, name in enumerate("abcde")],
    "merges": {"parts": {"b": ["q"], "e": ["p", "r"]}},
}  # fmt: skip


def cases() -> dict[str, Callable[[], Numbers]]:
    """Return a case of every evaluation mode and label set, and those of the metric."""
    modes: dict[str, Callable[[], Numbers]] = {
        f"mode/{name}": partial(_mode, name) for name in get_args(Evaluation.model_fields["mode"].annotation)
    }
    sets = {f"labelset/{name}": partial(_label_set, name) for name in labelsets.shipped()}
    return {**modes, **sets, "metric/merged": _merged, "metric/miou": _miou, "metric/relabelled": _relabelled}


def _mode(name: str) -> Numbers:
    numbers, segmenter = Numbers(), tiny.segmenter(tiny.SHORT).eval()
    for size in SIZES:
        images = torch.stack([tiny.image(f"frame {place}", *size) for place in range(2)])
        for given in OPTIONS.get(name, ({},)):
            words = " ".join(map(str, (*size, *given.values())))
            spec = Evaluation.model_validate({"mode": name, **given})
            numbers.put(f"scores {words}", segmenter.predict(images, name, **given))  # type: ignore[arg-type]
            for merge in (None, labelsets.merge(_set(WHOLES), _set(PARTS))):
                seen: list[torch.Tensor] = []

                def look(item: EvaluationItem, scores: torch.Tensor, seen: list[torch.Tensor] = seen) -> None:
                    seen.append(scores)

                classes = len(merge.into.classes) if merge else tiny.CLASSES
                matrices = evaluate(
                    segmenter, _items(size, classes), tiny.CLASSES, spec, torch.device("cpu"), lambda: None,
                    look, merge,
                )  # fmt: skip
                kind = "merged" if merge else "own"
                numbers.put(f"{kind} confusion {words}", matrices)
                numbers.put_all(f"{kind} seen {words}", seen)
    if name == "slide":
        images = tiny.image("tall", 61, 29)[None]
        for at_once in (1, 24 * 24 * 3, 1 << 20):
            bands = list(segmenter.bands(images, 24, 10, at_once))
            numbers.put(f"rows of bands, {at_once} at once", [band.shape[-2] for band in bands])
            numbers.put_all(f"bands, {at_once} at once", bands)
    return numbers


def _items(size: tuple[int, int], classes: int) -> Iterable[EvaluationItem]:
    """Yield images whose labels, in ``classes`` classes, have their size, and one whose label is larger."""
    height, width = size
    for place, (rows, columns) in enumerate((size, size, (height + 9, width + 5))):
        label = tiny.label(place, rows, columns)
        label = torch.where(label == 255, label, label % classes).to(torch.uint8)
        yield {"image": tiny.image(f"frame {place}", *size).float(), "label": label, "id": str(place)}


def _set(fields: dict[str, Any]) -> LabelSet:
    return LabelSet.model_validate(fields)


def _merged() -> Numbers:
    numbers = Numbers()
    both = _set(WHOLES), _set(PARTS)
    for one, into in (both, both[::-1]):
        merge = labelsets.merge(one, into)
        assert merge is not None
        numbers.put_tree(f"{one.name} into {into.name}", [merge.index, merge.wrong, merge.excluded])
        logits = torch.from_numpy(3 * noise(one.name, len(one.classes), 19, 23)).float()
        for by in get_args(Evaluation.model_fields["merge_by"].annotation):
            scores = merged(logits, merge, by)
            numbers.put(f"{one.name} by {by}", scores)
            label = tiny.label(0, 19, 23) % len(into.classes)
            numbers.put(
                f"{one.name} by {by} confusion",
                confusion(scores.argmax(0), label.clamp(max=len(into.classes) - 1), len(into.classes), len(scores)),
            )
    return numbers


def _miou() -> Numbers:
    numbers = Numbers()
    prediction = torch.from_numpy(((noise("prediction", 41, 47) + 1) / 2 * 5).astype(np.int64))
    label = tiny.label(1, 41, 47)
    matrix = confusion(prediction, label, 5)
    numbers.put("confusion", matrix)
    numbers.put("in chunks", confusion(prediction.repeat(150, 1), label.repeat(150, 1), 5))
    rare = matrix.copy()
    rare[2] = 0
    rare[:, 3] = 0
    absent = rare.copy()
    absent[:, 2] = 0
    several = np.stack([matrix, rare, absent])
    for name, each in (("all", matrix), ("rare", rare), ("absent", absent), ("several", several)):
        numbers.put(f"IoU, {name}", np.nan_to_num(statistics.iou(each), nan=-1))
        numbers.put(f"mIoU, {name}", statistics.miou(each))
    wide = np.concatenate([several, several[..., :1] + 2], -1)
    numbers.put("mIoU with a column of no class", statistics.miou(wide))
    weights = statistics.image_weights("micro", 3, 20)
    numbers.put("resampled", statistics.resampled_miou(several, weights))
    numbers.put("resampled with a column of no class", statistics.resampled_miou(wide, weights))
    return numbers


def _relabelled() -> Numbers:
    """Labels of one set read in another, in both directions."""
    numbers = Numbers()
    sets = (_set(WHOLES), _set(PARTS))
    for classes, scored in (("parts", None), ("wholes", "parts"), ("wholes", None), ("parts", "wholes")):
        target = Split(dataset="none", split="none", scored_in=scored)
        fixed = tiny.protocol(classes=classes, label_sets=sets, targets={"other": target})
        for each in sets:
            reader: Any = SimpleNamespace(name=each.name, classes=each.names)
            labels, merge, lut, notes = in_label_set(reader, target, fixed)
            words = f"{each.name} for {classes} scored in {scored}:"
            numbers.put_tree(f"{words} facts", [labels.name, merge.index if merge else "none", notes])
            numbers.put(f"{words} ids", np.arange(256) if lut is None else lut)
    return numbers


def _label_set(name: str) -> Numbers:
    numbers, own = Numbers(), labelsets.find(name)
    numbers.put_tree("classes", [own.names, own.colors])
    numbers.put_tree("train ids", own.train_ids())
    for other in own.merges:
        merge = labelsets.merge(labelsets.find(other), own)
        assert merge is not None
        numbers.put_tree(f"{other} merged", [merge.index, merge.wrong, merge.excluded])
    return numbers
