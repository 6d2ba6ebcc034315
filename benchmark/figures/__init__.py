"""Figures made from records alone, one file each; ``python -m benchmark figure`` finds them by their file names.

A figure's module ends with ``FIGURE``, a :class:`benchmark.figures._figure.Figure`. It is found like a method: here by
its file, in other packages by the entry point ``dgss_benchmark.figures``. Modules that begin with an underscore
are what the figures share. matplotlib is imported with a figure's module, never by the command line.
"""
