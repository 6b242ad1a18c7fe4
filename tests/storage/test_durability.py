"""What could lose an answered change is refused before the first answer."""

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from harness.patience import eventually
from harness.postgres import GivenPostgres, StartedPostgres, create_database, drop_database
from harness.processes import run_wallet
from psycopg2 import sql
from sqlalchemy.exc import DBAPIError

from wallet_service.storage import sqlite
from wallet_service.storage.database import open_database
from wallet_service.storage.dialect import Limits, UnsafeDatabase
from wallet_service.storage.migrate import migrate

_FULL = 2


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_sqlite_in_memory_is_refused(url: str) -> None:
    with pytest.raises(UnsafeDatabase, match="needs a file"):
        open_database(url)


@pytest.mark.parametrize("version", [(3, 38, 5), (2, 99, 0)])
def test_an_sqlite_that_is_too_old_is_refused_before_a_file_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int]
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)

    with pytest.raises(UnsafeDatabase, match=r"3\.39 or later is needed"):
        open_database(f"sqlite:///{tmp_path / 'books' / 'wallet.db'}")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file::memory:", "file:books?mode=memory"])
def test_sqlite_in_memory_by_another_name_is_refused(name: str) -> None:
    joint = "&" if "?" in name else "?"
    database = open_database(f"sqlite:///{name}{joint}uri=true")

    with pytest.raises(UnsafeDatabase):
        database.check_durability()

    database.close()


def test_every_sqlite_connection_is_durable(sqlite_url: str) -> None:
    database = open_database(sqlite_url, Limits(reader_pool_size=3))
    with ExitStack() as stack:
        opened = [stack.enter_context(database.reader.connect()) for _ in range(3)]
        opened.append(stack.enter_context(database.writer.connect()))
        settings = [
            tuple(
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            )
            for connection in opened
        ]
    database.check_durability()
    database.close()

    assert settings == [("wal", _FULL, 1)] * 4


def test_a_safe_postgresql_is_taken(postgres_url: str) -> None:
    database = open_database(postgres_url)
    database.check_durability()
    database.close()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_keep_every_description_is_refused(
    postgres: StartedPostgres | GivenPostgres, encoding: str
) -> None:
    url = create_database(postgres, encoding=encoding)
    database = open_database(url)

    with pytest.raises(UnsafeDatabase, match=f"server_encoding = {encoding}"):
        database.check_durability()

    database.close()
    drop_database(postgres, url)


@contextmanager
def _admin(url: str) -> Iterator[psycopg2.extensions.cursor]:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def _assert_refused(database_url: str, directory: Path, name: str) -> None:
    database = open_database(database_url)
    with pytest.raises(UnsafeDatabase, match=f"{name} = off"):
        database.check_durability()
    database.close()

    served = run_wallet("serve", directory=directory, database_url=database_url)

    assert served.returncode == 1
    assert f"{name} = off" in served.stderr
    assert "WALLET_DATABASE_URL" in served.stderr
    assert "Traceback" not in served.stderr
    assert "serving" not in served.stdout


def test_a_database_with_asynchronous_commit_is_refused(postgres_url: str, tmp_path: Path) -> None:
    name = sql.Identifier(postgres_url.partition("?")[0].rpartition("/")[2])
    with _admin(postgres_url) as cursor:
        cursor.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name))

    _assert_refused(postgres_url, tmp_path, "synchronous_commit")


@contextmanager
def _server_with(url: str, name: str, value: str) -> Iterator[None]:
    """Give the whole server a setting for as long as the block lasts."""
    setting = sql.Identifier(name)

    def is_now(wanted: str) -> bool:
        with _admin(url) as looker:
            looker.execute(sql.SQL("SHOW {}").format(setting))
            return looker.fetchone() == (wanted,)

    with _admin(url) as cursor:
        try:
            cursor.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(setting, sql.Literal(value)))
            cursor.execute("SELECT pg_reload_conf()")
            eventually(lambda: is_now(value))
            yield
        finally:
            cursor.execute(sql.SQL("ALTER SYSTEM RESET {}").format(setting))
            cursor.execute("SELECT pg_reload_conf()")
            eventually(lambda: is_now("on"))


@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
def test_a_server_that_may_lose_its_files_is_refused(
    postgres: StartedPostgres | GivenPostgres, postgres_url: str, tmp_path: Path, name: str
) -> None:
    if isinstance(postgres, GivenPostgres):
        pytest.skip("a server from outside is not ours to endanger")
    with _server_with(postgres_url, name, "off"):
        _assert_refused(postgres_url, tmp_path, name)


@pytest.mark.parametrize("url", ["mysql://root@localhost/wallet", "nonsense", "oracle://x"])
@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_an_unsupported_database_is_refused_by_its_variables_name(
    tmp_path: Path, url: str, command: str
) -> None:
    refused = run_wallet(command, directory=tmp_path, database_url=url)

    assert refused.returncode in {1, 2}
    assert "WALLET_DATABASE_URL" in refused.stderr
    assert "Traceback" not in refused.stderr


def _failed_commit(code: int) -> Any:
    failure = sqlite3.OperationalError("as SQLite puts it")
    failure.sqlite_errorcode = code
    return DBAPIError.instance("COMMIT", None, failure, sqlite3.Error)


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY, sqlite3.SQLITE_LOCKED_SHAREDCACHE]
)
def test_a_lock_of_any_kind_is_worth_another_try(code: int) -> None:
    error = _failed_commit(code)

    assert sqlite.was_rolled_back(error)
    assert not sqlite.was_lost(error)


def test_a_commit_that_finds_the_disk_full_is_not_in_doubt() -> None:
    error = _failed_commit(sqlite3.SQLITE_FULL)

    assert sqlite.was_lost(error)
    assert sqlite.was_refused(error)


def test_new_books_are_nobody_elses_to_read(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'books/wallet.db'}")
    migrate(database)
    database.close()

    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "books").iterdir()}

    assert modes == {0o600}
