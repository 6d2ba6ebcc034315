"""A reproducibility benchmark for domain generalised semantic segmentation (DGSS)."""

__version__ = "0.1.0"
