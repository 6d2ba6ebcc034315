"""Readers of official dataset trees, augmentation, and the rendered default."""
