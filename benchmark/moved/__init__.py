"""Import paths of earlier versions, for existing model cards and notebooks; each module warns and names the new path.

``benchmark/__init__.py`` adds this folder to the path of the package: ``benchmark.delta`` is ``moved/delta.py``.
"""

from __future__ import annotations

import warnings


def warn(old: str, new: str) -> None:
    """Warn the importing module that ``old`` has moved to ``new``."""
    warnings.warn(f"{old} has moved to {new}", FutureWarning, stacklevel=3)
