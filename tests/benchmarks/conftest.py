"""Fixture for benchmarks that run only with ``tox -e speed``."""

from __future__ import annotations

import pytest


@pytest.fixture
def asked_for(request: pytest.FixtureRequest) -> None:
    """Skip a benchmark that takes minutes or gigabytes unless ``--benchmark-only`` is given (``tox -e speed``)."""
    if not request.config.getoption("benchmark_only"):
        pytest.skip("takes minutes or gigabytes; tox -e speed runs it")
