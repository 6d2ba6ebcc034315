"""Ablations: Table 4 and Figure 5 of FisherTune (``arms``), and Figure 3 (``parts``)."""
