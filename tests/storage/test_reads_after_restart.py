"""Reads on connections that a database left behind when it was killed."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from harness.books import ALICE, write_books
from harness.postgres import GivenPostgres, StartedPostgres
from sqlalchemy import Connection, func, select

from wallet_service.ledger.errors import DatabaseUnavailable
from wallet_service.storage.database import Database, open_database
from wallet_service.storage.dialect import Limits
from wallet_service.storage.history import read_lines_after
from wallet_service.storage.queries import ping, read_account, read_outcome

POOL_SIZE = 4


def _fill_pool(database: Database) -> None:
    """Open all the pool's connections, and leave them idle."""
    with ExitStack() as stack:
        for _ in range(POOL_SIZE):
            stack.enter_context(database.reader.connect()).execute(select(1))


@pytest.fixture
def own_postgres(postgres: StartedPostgres | GivenPostgres) -> StartedPostgres:
    if isinstance(postgres, GivenPostgres):
        pytest.skip("a server from outside is not ours to kill")
    return postgres


def test_reads_survive_a_restart_of_the_database(
    own_postgres: StartedPostgres, postgres_url: str
) -> None:
    database = open_database(postgres_url, Limits(reader_pool_size=POOL_SIZE))
    ids = write_books(database)
    _fill_pool(database)

    own_postgres.kill()
    with pytest.raises(DatabaseUnavailable):
        read_account(database, ALICE)
    own_postgres.start_again()

    account = read_account(database, ALICE)
    assert account
    assert account.posted_minor == 500
    assert read_outcome(database, ids["transfer"])
    assert len(read_lines_after(database, ALICE, 0, row_limit=9)) == 3
    database.close()


def test_reads_in_parallel_do_not_notice_a_restart_in_between(
    own_postgres: StartedPostgres, postgres_url: str
) -> None:
    database = open_database(postgres_url, Limits(reader_pool_size=POOL_SIZE))
    write_books(database)
    _fill_pool(database)

    own_postgres.kill()
    own_postgres.start_again()

    with ThreadPoolExecutor(POOL_SIZE) as threads:
        balances = list(threads.map(lambda _: read_account(database, ALICE), range(POOL_SIZE * 4)))
    assert {account.posted_minor for account in balances if account} == {500}
    assert None not in balances
    database.close()


def test_a_look_at_health_does_not_notice_a_restart_in_between(
    own_postgres: StartedPostgres, postgres_url: str
) -> None:
    database = open_database(postgres_url)
    ping(database)

    own_postgres.kill()
    own_postgres.start_again()

    ping(database)
    database.close()


def test_a_read_that_takes_too_long_costs_nobody_else_their_connection(postgres_url: str) -> None:
    # Long enough for a busy machine, short enough to be waited for.
    limits = Limits(reader_pool_size=POOL_SIZE, statement_timeout_ms=500)
    database = open_database(postgres_url, limits)
    _fill_pool(database)
    pids = select(func.pg_backend_pid())

    def sleep_long(connection: Connection) -> None:
        connection.execute(select(func.pg_sleep(5)))

    with ExitStack() as stack:
        others = [stack.enter_context(database.reader.connect()) for _ in range(POOL_SIZE - 1)]
        kept = {other.scalar(pids) for other in others}
        with pytest.raises(DatabaseUnavailable):
            database.read(sleep_long)

    with ExitStack() as stack:
        now = [stack.enter_context(database.reader.connect()) for _ in range(POOL_SIZE)]
        assert kept < {each.scalar(pids) for each in now}
    database.close()
