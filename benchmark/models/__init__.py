"""Backbones, decoders and the segmenter that joins them; nothing here knows of fine-tuning methods."""
