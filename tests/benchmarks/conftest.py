"""What only runs where speed is asked for."""

from __future__ import annotations

import pytest


@pytest.fixture
def asked_for(request: pytest.FixtureRequest) -> None:
    """Skip a benchmark that takes minutes or gigabytes, unless benchmarks alone are run (``tox -e speed``)."""
    if not request.config.getoption("benchmark_only"):
        pytest.skip("takes minutes or gigabytes; tox -e speed runs it")
