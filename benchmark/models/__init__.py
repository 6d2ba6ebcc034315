"""Backbones, decoders and the segmenter that combines them; independent of the fine-tuning methods."""
