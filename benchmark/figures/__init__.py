"""Figures drawn from records, one module each, for ``python -m benchmark figure``.

A figure's module defines ``FIGURE``, a :class:`benchmark.figures._figure.Figure`, and is registered under its file
name; other packages register figures through the entry point ``dgss_benchmark.figures``. Modules that start with an
underscore hold shared code. Only the figure modules import matplotlib, so the command line starts without it.
"""
