"""Hypothesis profiles: a few fixed examples per property by default, thousands of random ones on request."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings

# Examples share a test's folder, and the machine may be busy; neither is a fault of the code under test.
COMMON: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("suite", max_examples=25, derandomize=True, database=None, **COMMON)
settings.register_profile("fuzz", max_examples=2000, print_blob=True, **COMMON)
settings.load_profile("suite")  # `pytest tests/fuzz --hypothesis-profile=fuzz` selects the other
