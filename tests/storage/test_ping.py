"""Whether a database is well is asked apart from everything else, and changes nothing."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from harness.commands import deposit
from sqlalchemy import make_url, select

from wallet_service.engine.execute import Submission, execute_batch
from wallet_service.ledger.books import Rules
from wallet_service.ledger.errors import DatabaseUnavailable, Overloaded
from wallet_service.storage.database import ConnectionLost, Database, open_database
from wallet_service.storage.dialect import Limits
from wallet_service.storage.queries import ping, read_accounts


def test_busy_connections_do_not_make_a_database_ill(database_url: str) -> None:
    database = open_database(database_url, Limits(reader_pool_size=1, pool_timeout_s=1))
    with ExitStack() as stack:
        stack.enter_context(database.reader.connect()).execute(select(1))
        stack.enter_context(database.transaction())  # takes SQLite's one lock

        ping(database)
    database.close()


def test_a_read_that_no_connection_is_free_for_is_too_much_and_no_fault(database_url: str) -> None:
    database = open_database(database_url, Limits(reader_pool_size=1, pool_timeout_s=1))
    with database.reader.connect(), pytest.raises(Overloaded):
        read_accounts(database, "alice")

    assert read_accounts(database, "alice") == []
    database.close()


def test_a_look_at_a_file_waits_for_nobody(sqlite_url: str) -> None:
    database = open_database(sqlite_url)

    with database.prober.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 0
    database.close()


def test_a_look_leaves_the_database_to_those_who_write(database: Database) -> None:
    ping(database)

    with database.transaction() as connection:
        assert connection.scalar(select(1)) == 1


def test_a_file_that_is_read_only_is_unavailable(sqlite_url: str) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    database = open_database(f"sqlite:///file:{path}?mode=ro&uri=true")

    with pytest.raises(DatabaseUnavailable):
        ping(database)
    with pytest.raises(ConnectionLost):
        execute_batch(database, [Submission([deposit("first", "alice", 1)])], rules=Rules())
    database.close()


def test_a_database_that_is_read_only_by_default_is_unavailable(postgres_url: str) -> None:
    option = "-c default_transaction_read_only=on"
    url = make_url(postgres_url).update_query_dict({"options": option})
    database = open_database(url.render_as_string(hide_password=False))

    with pytest.raises(DatabaseUnavailable):
        ping(database)
    database.close()


def test_a_file_that_is_gone_is_unavailable_and_not_made_anew(
    sqlite_url: str, tmp_path: Path
) -> None:
    database = open_database(sqlite_url)
    ping(database)
    (tmp_path / "wallet.db").rename(tmp_path / "elsewhere.db")

    with pytest.raises(DatabaseUnavailable):
        ping(database)

    assert not (tmp_path / "wallet.db").exists()
    database.close()
