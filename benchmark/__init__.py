"""A reproducibility benchmark for domain generalised semantic segmentation (DGSS).

``benchmark.run``, ``read_records``, ``table``, ``load`` and ``load_protocol`` are the Python interface, see
:mod:`benchmark.api` and docs/python.md. Each name is imported when it is first used.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.api.models import Model, load
    from benchmark.api.reading import load_protocol, read_records
    from benchmark.api.running import UnfinishedRunsError, run
    from benchmark.api.tabling import Tables, table
    from benchmark.common.errors import UserError
    from benchmark.protocol import Protocol
    from benchmark.records import Record

__all__ = [
    "Model",
    "Protocol",
    "Record",
    "Tables",
    "UnfinishedRunsError",
    "UserError",
    "load",
    "load_protocol",
    "read_records",
    "run",
    "table",
]
__version__ = "0.1.0"
__path__.append(os.path.join(os.path.dirname(__file__), "moved"))  # import paths of earlier versions

if not TYPE_CHECKING:  # a type checker would accept any name otherwise
    _PLACES = {
        "Model": "api.models", "Protocol": "protocol", "Record": "records", "Tables": "api.tabling",
        "UnfinishedRunsError": "api.running", "UserError": "common.errors", "load": "api.models",
        "load_protocol": "api.reading", "read_records": "api.reading", "run": "api.running", "table": "api.tabling",
    }  # fmt: skip

    def __getattr__(name: str) -> Any:
        """Import the Python interface, one name at a time."""
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)

    def __dir__() -> list[str]:
        """Return the names in this module and those imported on first use."""
        return sorted({*globals(), *_PLACES})
