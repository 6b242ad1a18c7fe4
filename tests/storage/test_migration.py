"""A database that an earlier release wrote is carried over with all its rows, and still proven."""

from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from harness.books import ALICE, BOB, CAROL, run_commands
from sqlalchemy import Table, insert, select

from wallet_service.audit.verify import verify
from wallet_service.ledger.books import Books, Entry, Outcome, Transaction
from wallet_service.ledger.chain import transaction_digest
from wallet_service.ledger.commands import Command, Deposit, OpenAccount, Transfer, Withdraw
from wallet_service.ledger.decide import decide
from wallet_service.server import prepare_database
from wallet_service.settings import Settings
from wallet_service.storage.database import Database
from wallet_service.storage.migrate import migrate
from wallet_service.storage.queries import read_account
from wallet_service.storage.schema import accounts, entries, transactions
from wallet_service.storage.schema_version import (
    VERSION,
    SchemaOutOfDate,
    check_schema,
    read_version,
)

#: What 0002 added to the tables of 0001.
ADDED = {"outflow_minor", "outflow_count", "open_holds", "limits", "arguments"}
COMMANDS: list[Command] = [
    OpenAccount(caller="service", request_id="1", target=CAROL),
    Deposit(caller="service", request_id="2", target=ALICE, amount_minor=1000),
    Deposit(caller="service", request_id="3", target=BOB, amount_minor=500),
    Transfer(
        caller="alice",
        request_id="4",
        source=ALICE,
        target=BOB,
        amount_minor=300,
        metadata={"month": "май"},
    ),
    Transfer(caller="bob", request_id="5", source=BOB, target=ALICE, amount_minor=50),
    Withdraw(caller="alice", request_id="6", source=ALICE, amount_minor=200),
    Transfer(caller="alice", request_id="7", source=ALICE, target=BOB, amount_minor=10**6),
]


def _upgrade(database: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", "wallet_service:storage/migrations")
    config.set_main_option("path_separator", "os")
    with database.transaction() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _insert(database: Database, table: Table, rows: list[dict[str, Any]]) -> None:
    kept = [{name: row[name] for name in row if name not in ADDED} for row in rows]
    with database.transaction() as connection:
        connection.execute(insert(table), kept)


def _record(transaction: Transaction) -> dict[str, Any]:
    """Return the row that 0001 had: nothing was recorded beside its columns, or hashed."""
    old = transaction._replace(arguments={})
    if old.digest:
        old = old._replace(digest=transaction_digest(old))
    refusal_values, metadata = dict(old.refusal_values) or None, dict(old.metadata) or None
    return {**old._asdict(), "refusal_values": refusal_values, "metadata": metadata}


def _write_old_books(database: Database) -> list[Outcome]:
    books = Books(now=10**15)
    for each in COMMANDS:
        books.now += 10**6
        decide(books, each)
    rows = [
        {name: getattr(each, name) for name in accounts.columns.keys()}  # noqa: SIM118
        for each in books.accounts.values()
    ]
    _insert(database, accounts, rows)
    _insert(database, transactions, [_record(each.transaction) for each in books.decided])
    lines = [entry for each in books.decided for entry in each.entries]
    _insert(database, entries, [entry._asdict() for entry in lines])
    return books.decided


@pytest.fixture
def old(empty: Database) -> Database:
    """A database as release 0.1 left it, with rows."""
    _upgrade(empty, "0001")
    _write_old_books(empty)
    return empty


def test_what_was_spent_before_is_counted_and_the_books_stay_proven(old: Database) -> None:
    migrate(old)

    check_schema(old)
    with old.reader.connect() as connection:
        query = select(entries).order_by(*entries.primary_key)
        lines = [Entry._make(row) for row in connection.execute(query)]
    spent = {
        (line.user_id, line.sequence): (line.outflow_minor, line.outflow_count) for line in lines
    }
    assert spent == {
        ("alice", 1): (0, 0),
        ("alice", 2): (300, 1),
        ("alice", 3): (300, 1),
        ("alice", 4): (500, 2),
        ("bob", 1): (0, 0),
        ("bob", 2): (0, 0),
        ("bob", 3): (50, 1),
    }
    sums = {}
    for key in (ALICE, BOB, CAROL):
        account = read_account(old, key)
        assert account
        assert (account.open_holds, account.limits) == (0, ())
        sums[key.user_id] = (account.outflow_minor, account.outflow_count)
    assert sums == {"alice": (500, 2), "bob": (50, 1), "carol": (0, 0)}
    assert tuple(verify(old, lambda _done, _total: None)) == (3, 7, 7, 0)


def test_a_request_of_before_is_answered_again_and_new_ones_go_on(old: Database) -> None:
    migrate(old)

    repeated = run_commands(old, *COMMANDS)
    (outcome,) = run_commands(
        old, Withdraw(caller="alice", request_id="new", source=ALICE, amount_minor=1)
    )

    assert all(each.is_replayed for each in repeated)
    assert (outcome.entries[0].outflow_minor, outcome.entries[0].outflow_count) == (501, 3)
    assert tuple(verify(old, lambda _done, _total: None)) == (3, 8, 8, 0)


def test_a_database_of_before_is_not_served(old: Database) -> None:
    with pytest.raises(SchemaOutOfDate, match="wallet migrate"):
        check_schema(old)


def test_a_server_migrates_a_file_of_before_and_leaves_another_database_to_its_operator(
    old: Database, empty_url: str
) -> None:
    settings = Settings(database_url=empty_url)
    if old.is_embedded:
        prepare_database(settings).close()
    else:
        with pytest.raises(SchemaOutOfDate, match="wallet migrate"):
            prepare_database(settings)

    assert read_version(old) == (VERSION if old.is_embedded else "0001")
