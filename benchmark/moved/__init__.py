"""Import paths of earlier versions that model cards and notebooks still use; each module says where its names are now.

``benchmark/__init__.py`` puts this folder on the package's path: ``benchmark.delta`` is ``moved/delta.py``.
"""

from __future__ import annotations

import warnings


def warn(old: str, new: str) -> None:
    """Warn the module that imports ``old`` that its names are in ``new`` now."""
    warnings.warn(f"{old} has moved to {new}", FutureWarning, stacklevel=3)
