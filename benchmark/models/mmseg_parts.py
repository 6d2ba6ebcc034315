"""The parts of mmsegmentation that a decoder is built from; importing it takes seconds, so it is done late."""

import warnings

with warnings.catch_warnings():
    # mmcv warns that it lacks a compiled operator, which nothing here uses.
    warnings.filterwarnings("ignore", message="Fail to import ``MultiScaleDeformableAttention``")
    from mmseg.models.decode_heads import SegformerHead
    from mmseg.models.necks import Feature2Pyramid

__all__ = ["Feature2Pyramid", "SegformerHead"]
