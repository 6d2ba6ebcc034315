"""Rivals of FisherTune: one file, one fine-tuning method."""
