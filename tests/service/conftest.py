"""Fixtures of the service's tests."""

from collections.abc import Iterator

import pytest
from harness.people import People, people_of


@pytest.fixture
def people(target: str) -> Iterator[People]:
    """Alice with 1000 kopecks, bob with 500, a stranger, and a service that may do everything."""
    with people_of(target) as callers:
        yield callers
