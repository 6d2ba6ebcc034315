"""Predict images without labels with the model of a run: ``python -m benchmark predict``."""
