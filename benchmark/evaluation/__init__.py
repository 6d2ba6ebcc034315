"""Evaluation: from a model and labelled images to confusion matrices."""
