"""Pre-training of the embedded foundation model ``vit-tiny-streets`` on rendered ``world`` frames.

The objective does not use the target classes, see :mod:`benchmark.pretrain.objective`.
"""
