"""detectron2, where a user has installed it: our data sets in its catalogs, and its evaluator beside ours.

Nothing here is needed for a run. detectron2 is no dependency: it has no release on the package index and is built
from its repository.
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
GET = "pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'"


class DisagreementError(Exception):
    """Two evaluators found another mIoU for the same predictions."""


def require() -> str:
    """Return the version of detectron2.

    Raises:
        UserError: it is not installed, or does not import; the line says how to get it.
    """
    try:
        import detectron2
        import detectron2.evaluation
    except ImportError as error:
        raise UserError(
            f"--evaluator detectron2: it cannot be imported ({error}); get it, with a C++ compiler at hand, by: {GET}"
        ) from None
    return str(detectron2.__version__)


def register(name: str, domain: Domain) -> None:
    """Enter a domain into detectron2's ``DatasetCatalog`` and ``MetadataCatalog`` as ``name``, in place of any other.

    Labels stay as downloaded, under ``sem_seg_file_name``; the metadata's ``sem_seg_loading_fn`` reads such a file as
    train ids, (H, W), 255 = ignore, at the size at which the domain is scored.
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

    if name in DatasetCatalog.list():
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, lambda: rows)
    MetadataCatalog.get(name).set(
        stuff_classes=list(domain.classes), stuff_colors=[list(color) for color in domain.colors],
        ignore_label=IGNORE, evaluator_type="sem_seg", sem_seg_loading_fn=load,
    )  # fmt: skip


class SecondEvaluator:
    """detectron2's SemSegEvaluator on one domain, fed with the scores that our own evaluation argues from.

    It reads labels through its catalog, takes its own argmax and counts for itself.

    Args:
        name: the domain's in detectron2's catalogs; entered here.
        domain: what is scored.
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
        """Count one image of the domain, given its scores (C, H, W) at the label's size."""
        sample = self._samples[item["id"]]
        self._evaluator.process([{"file_name": str(sample.image)}], [{"sem_seg": scores}])
        labelled = item["label"] != IGNORE
        for present in (item["label"][labelled], scores.argmax(0).cpu()[labelled]):
            self._occur |= set(present.unique().tolist())

    def compare(self, confusion: np.ndarray) -> float:
        """Return by how much its mIoU differs from ours, as a fraction.

        Its mean leaves out a class that is only predicted, or gave it the weight of a zero, by its version; ours
        counts a zero, as mmsegmentation's does. So the mean of its IoU is taken over the classes that occur.

        Args:
            confusion: (N, C, C), what our evaluation counted.

        Raises:
            DisagreementError: by more than 1e-6.
        """
        found = self._evaluator.evaluate()["sem_seg"]
        each = [float(found[f"IoU-{name}"]) / 100 for name in self.classes]
        theirs = float(np.nansum(each)) / len(self._occur)
        own = float(miou(confusion.sum(0, dtype=np.int64)))
        if not abs(theirs - own) <= TOLERANCE:
            raise DisagreementError(f"{self.name}: mIoU is {own:.9f}, by detectron2's SemSegEvaluator {theirs:.9f}")
        return abs(theirs - own)
