"""A reproducibility benchmark for domain generalised semantic segmentation (DGSS)."""

import os

__version__ = "0.1.0"
__path__.append(os.path.join(os.path.dirname(__file__), "moved"))  # import paths of earlier versions
