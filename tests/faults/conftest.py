"""Fixtures of the fault tests: client processes that all of them share."""

from collections.abc import Iterator

import pytest
from harness.load import Clients
from harness.postgres import GivenPostgres, StartedPostgres


@pytest.fixture(scope="session")
def clients() -> Iterator[Clients]:
    with Clients() as started:
        yield started


@pytest.fixture
def own_postgres(postgres: StartedPostgres | GivenPostgres) -> StartedPostgres:
    """The PostgreSQL server, if it is ours to kill."""
    if isinstance(postgres, GivenPostgres):
        pytest.skip("a server from outside is not ours to kill")
    return postgres
