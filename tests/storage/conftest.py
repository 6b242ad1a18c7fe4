"""Fixtures of the storage tests: databases without any table."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.postgres import GivenPostgres, StartedPostgres, create_database, drop_database

from wallet_service.storage.database import Database, open_database


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind in turn without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    postgres: StartedPostgres | GivenPostgres = request.getfixturevalue("postgres")
    url = create_database(postgres)
    yield url
    drop_database(postgres, url)


@pytest.fixture
def empty(empty_url: str) -> Iterator[Database]:
    """Pools on a database of each kind in turn without any table."""
    opened = open_database(empty_url)
    yield opened
    opened.close()
