"""Optional cross-check with detectron2: registers our data sets and runs its evaluator alongside ours.

detectron2 is not a dependency: it has no release on PyPI and must be built from its repository.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.common.errors import UserError
from benchmark.common.statistics import miou

if TYPE_CHECKING:
    import torch

    from benchmark.data.domains import Domain
    from benchmark.data.labels import Bytes
    from benchmark.data.loader import EvaluationItem

IGNORE = 255
TOLERANCE = 1e-6
OTHER = "(no counterpart)"
GET = "pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'"


class DisagreementError(Exception):
    """Two evaluators computed different mIoU from the same predictions."""


def require() -> str:
    """Return the version of detectron2.

    Raises:
        UserError: it is not installed or cannot be imported; the message says how to install it.
    """
    try:
        import detectron2
        import detectron2.evaluation
    except ImportError as error:
        raise UserError(
            f"--evaluator detectron2: cannot be imported ({error}); install it (needs a C++ compiler): {GET}"
        ) from None
    return str(detectron2.__version__)


def register(name: str, domain: Domain) -> None:
    """Register a domain as ``name`` in detectron2's ``DatasetCatalog`` and ``MetadataCatalog``; replaces an old entry.

    ``sem_seg_file_name`` is the label file as downloaded. The metadata's ``sem_seg_loading_fn`` reads it as train ids,
    (H, W), 255 = ignore, at the size at which the domain is evaluated. If predictions are merged, a last class without
    pixels stands for those that have no counterpart.
    """
    from detectron2.data import DatasetCatalog, MetadataCatalog

    by_label = {str(sample.label): sample for sample in domain.samples}
    rows = [
        {"file_name": str(sample.image), "sem_seg_file_name": label, "image_id": sample.id}
        for label, sample in by_label.items()
    ]

    def load(label: str, dtype: Any = np.uint8) -> Bytes:
        ids: Bytes = domain.reader.read(by_label[label])[1].astype(dtype)
        return ids

    rest = {OTHER: (0, 0, 0)} if domain.merge else {}
    if name in DatasetCatalog.list():
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, lambda: rows)
    MetadataCatalog.get(name).set(
        stuff_classes=[*domain.classes, *rest],
        stuff_colors=[list(color) for color in (*domain.colors, *rest.values())],
        ignore_label=IGNORE, evaluator_type="sem_seg", sem_seg_loading_fn=load,
    )  # fmt: skip


class SecondEvaluator:
    """detectron2's SemSegEvaluator on one domain, given the same scores as our own evaluation.

    It reads labels through its catalog and computes argmax and counts itself.

    Args:
        name: name under which the domain is registered in detectron2's catalogs.
        domain: domain to evaluate.
    """

    def __init__(self, name: str, domain: Domain) -> None:
        from detectron2.data import MetadataCatalog
        from detectron2.evaluation import SemSegEvaluator

        register(name, domain)
        self.name, self.classes = name, domain.classes
        self._load = MetadataCatalog.get(name).sem_seg_loading_fn
        self._samples = {sample.id: sample for sample in domain.samples}
        self._evaluator = SemSegEvaluator(name, distributed=False, sem_seg_loading_fn=self._load)
        self._evaluator.reset()
        self._occur: set[int] = set()

    def see(self, item: EvaluationItem, scores: torch.Tensor) -> None:
        """Process one image of the domain, given its scores (C, H, W) at the size of the label."""
        sample = self._samples[item["id"]]
        self._evaluator.process([{"file_name": str(sample.image)}], [{"sem_seg": scores}])
        labelled = item["label"] != IGNORE
        for present in (item["label"][labelled], scores.argmax(0).cpu()[labelled]):
            self._occur |= set(present.unique().tolist())

    def compare(self, confusion: np.ndarray) -> float:
        """Return the absolute difference between its mIoU and ours, both in 0..1.

        Depending on its version, detectron2's own mean excludes a class that is predicted but not labelled, or counts
        it as 0; ours counts it as 0, like mmsegmentation. So detectron2's IoU are averaged here, over the classes that
        occur in labels or predictions.

        Args:
            confusion: (N, C, C) from our evaluation.

        Raises:
            DisagreementError: they differ by more than 1e-6.
        """
        found = self._evaluator.evaluate()["sem_seg"]
        each = [float(found[f"IoU-{name}"]) / 100 for name in self.classes]
        theirs = float(np.nansum(each)) / len([place for place in self._occur if place < len(self.classes)])
        own = float(miou(confusion.sum(0, dtype=np.int64)))
        if not abs(theirs - own) <= TOLERANCE:
            raise DisagreementError(f"{self.name}: mIoU is {own:.9f}, with detectron2's SemSegEvaluator {theirs:.9f}")
        return abs(theirs - own)
