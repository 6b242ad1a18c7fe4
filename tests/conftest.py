"""Fixtures for all tests. `database_url` runs a test twice: on SQLite and on PostgreSQL."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from harness.postgres import (
    GivenPostgres,
    StartedPostgres,
    create_database,
    drop_database,
    start_postgres,
)
from harness.processes import ServerProcess
from harness.tokens import service_token, token, write_secret
from wallet_client import Wallet

from wallet_service.server import WalletServer
from wallet_service.settings import Settings
from wallet_service.storage.database import Database, open_database
from wallet_service.storage.migrate import migrate

ENGINES = ("sqlite", "postgres")


def _migrated(url: str) -> str:
    database = open_database(url)
    migrate(database)
    database.close()
    return url


@pytest.fixture(scope="session", autouse=True)
def _plain_tracebacks() -> None:
    """Log errors as plain text: the library's pictures of them take half a second each."""
    *first, _ = structlog.get_config()["processors"]
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*first, renderer])


@pytest.fixture(scope="session")
def postgres() -> Iterator[StartedPostgres | GivenPostgres]:
    server = start_postgres()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_template(postgres: StartedPostgres | GivenPostgres) -> Iterator[str]:
    url = _migrated(create_database(postgres))
    yield url
    drop_database(postgres, url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "wallet.db"
    _migrated(f"sqlite:///{path}")
    return path


@pytest.fixture
def postgres_url(
    postgres: StartedPostgres | GivenPostgres, postgres_template: str
) -> Iterator[str]:
    """An empty, migrated PostgreSQL database."""
    url = create_database(postgres, template=postgres_template)
    yield url
    drop_database(postgres, url)


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """An empty, migrated SQLite file."""
    shutil.copy(sqlite_template, tmp_path / "wallet.db")
    return f"sqlite:///{tmp_path / 'wallet.db'}"


@pytest.fixture(params=ENGINES)
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty, migrated database of each kind in turn."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Pools on an empty, migrated database of each kind in turn."""
    opened = open_database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def target(database_url: str, tmp_path: Path) -> Iterator[str]:
    """Address of a server in this process, on a database of each kind in turn."""
    settings = Settings(
        database_url=database_url,
        listen="127.0.0.1:0",
        jwt_secret_file=write_secret(tmp_path),
        threads=16,
    )
    server = WalletServer(settings, open_database(database_url), shares_port=False)
    port = server.start()
    yield f"127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def service(target: str) -> Iterator[Wallet]:
    """A client that may do everything."""
    with Wallet(target, service_token(), plaintext=True) as client:
        yield client


@pytest.fixture
def alice(target: str) -> Iterator[Wallet]:
    """A user's client."""
    with Wallet(target, token("alice"), plaintext=True) as client:
        yield client


@pytest.fixture
def bob(target: str) -> Iterator[Wallet]:
    """Another user's client."""
    with Wallet(target, token("bob"), plaintext=True) as client:
        yield client


@pytest.fixture
def server_process(database_url: str, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server in a process of its own, on a database of each kind in turn."""
    with ServerProcess(tmp_path, database_url) as process:
        yield process
