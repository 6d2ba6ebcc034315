"""The parts of mmsegmentation that the light decoder uses; imported late, since the import takes seconds."""

import warnings

with warnings.catch_warnings():
    # mmcv warns that a compiled operator is missing; nothing here uses it.
    warnings.filterwarnings("ignore", message="Fail to import ``MultiScaleDeformableAttention``")
    from mmseg.models.decode_heads import SegformerHead
    from mmseg.models.necks import Feature2Pyramid

__all__ = ["Feature2Pyramid", "SegformerHead"]
