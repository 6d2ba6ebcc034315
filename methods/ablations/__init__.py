"""Rows of FisherTune's Table 4 and Figure 5 that are no rivals: one selector of the same 5 % each, one file each.

Each differs from ``random`` or ``fishertune`` in the settings that its file states, and in nothing else. Two rows
are methods of the main comparison: Random is ``random``, and DRF from per-sample gradients is ``fishertune`` itself,
so it has no second name here. Figure 5 compares the estimators: ``…-variational`` fits the posterior of Eq. 10-13,
the others average squared gradients (Eq. 9).
"""
