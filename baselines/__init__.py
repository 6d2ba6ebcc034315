"""Baselines of FisherTune, one fine-tuning method per file."""
