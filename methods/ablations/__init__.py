"""Ablations: run by name or group, and not part of the main comparison.

FisherTune's Table 4 and Figure 5 (``arms``, ``fishertune_per_sample``), its Figure 3 (``parts``), and SoMA as in its
released code (``soma_as_released``).
"""
