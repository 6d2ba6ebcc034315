"""The parts of mmsegmentation that the light decoder uses; imported late, since the import takes seconds."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _absent(name: str) -> Iterator[None]:
    """Let imports of a package fail in the block as if it were not installed, unless it is imported already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # how the import system marks such a package
    try:
        yield
    finally:
        del sys.modules[name]


# mmengine offers transformers' optimizers, if it finds them: a fifth of all import time, for something unused here.
with warnings.catch_warnings(), _absent("transformers"):
    # mmcv warns that a compiled operator is missing; nothing here uses it.
    warnings.filterwarnings("ignore", message="Fail to import ``MultiScaleDeformableAttention``")
    from mmseg.models.decode_heads import SegformerHead
    from mmseg.models.necks import Feature2Pyramid

__all__ = ["Feature2Pyramid", "SegformerHead"]
