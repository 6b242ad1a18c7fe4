"""Migrations and audits take as long as they need, and may read whole tables."""

import pytest
from sqlalchemy import Connection, func, select

from wallet_service.storage.database import open_database
from wallet_service.storage.dialect import Limits

UNLIMITED = {
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "plan_cache_mode": "auto",
    "enable_seqscan": "on",
    "enable_hashjoin": "on",
    "enable_mergejoin": "on",
}


def _settings(connection: Connection) -> dict[str, str]:
    names = list(UNLIMITED)
    row = connection.execute(select(*map(func.current_setting, names))).one()
    return dict(zip(names, row, strict=True))


@pytest.mark.parametrize("kind", ["transaction", "snapshot"])
def test_what_reads_or_rewrites_everything_has_no_limits(postgres_url: str, kind: str) -> None:
    database = open_database(postgres_url, Limits(statement_timeout_ms=700))

    with getattr(database, kind)() as connection:
        seen = _settings(connection)

    assert seen == UNLIMITED
    engine = database.writer if kind == "transaction" else database.reader
    with engine.connect() as connection:
        after = _settings(connection)
    database.close()
    assert after.keys() == {name for name in UNLIMITED if after[name] != UNLIMITED[name]}


def test_a_slow_step_of_a_migration_is_not_cut(postgres_url: str) -> None:
    database = open_database(postgres_url, Limits(statement_timeout_ms=500))

    with database.transaction() as connection:
        connection.exec_driver_sql("SELECT pg_sleep(1)")
    database.close()
