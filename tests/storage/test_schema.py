"""The schema: what migrations make is what the code expects, and its rules really refuse."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from harness.jobs import migrate_together
from harness.load import Clients
from harness.postgres import GivenPostgres, StartedPostgres, create_database, drop_database
from harness.processes import run_wallet
from sqlalchemy import Table, insert, select, text
from sqlalchemy.exc import IntegrityError

from wallet_service.storage.database import Database, RolledBack
from wallet_service.storage.migrate import _config, migrate
from wallet_service.storage.schema import (
    accounts,
    entries,
    holds,
    metadata,
    reversals,
    transactions,
)
from wallet_service.storage.schema_version import (
    EARLIER,
    VERSION,
    SchemaOutOfDate,
    check_schema,
)

ACCOUNT = {
    "user_id": "alice",
    "currency_code": "RUB",
    "posted_minor": 100,
    "held_minor": 0,
    "min_balance_minor": 0,
    "sequence": 1,
    "head_hash": bytes(32),
    "state": "ACTIVE",
    "created_at": 1,
    "updated_at": 1,
    "outflow_minor": 0,
    "outflow_count": 0,
    "open_holds": 0,
}
TRANSACTION = {
    "transaction_id": "00000000-0000-8000-8000-000000000001",
    "caller": "alice",
    "request_id": "one",
    "kind": "DEPOSIT",
    "state": "POSTED",
    "currency_code": "RUB",
    "amount_minor": 100,
    "description": "",
    "created_at": 1,
}
ENTRY = {
    "user_id": "alice",
    "currency_code": "RUB",
    "sequence": 1,
    "transaction_id": TRANSACTION["transaction_id"],
    "amount_minor": 100,
    "balance_minor": 100,
    "hash": bytes(32),
    "created_at": 1,
    "outflow_minor": 0,
    "outflow_count": 0,
}
HOLD = {
    "hold_id": TRANSACTION["transaction_id"],
    "user_id": "alice",
    "currency_code": "RUB",
    "amount_minor": 100,
    "captured_minor": 0,
    "state": "ACTIVE",
    "created_at": 1,
    "updated_at": 1,
    "description": "",
}
REVERSAL = {"transaction_id": TRANSACTION["transaction_id"], "reversed_minor": 1}
GOOD = {
    accounts: ACCOUNT,
    transactions: TRANSACTION,
    entries: ENTRY,
    holds: HOLD,
    reversals: REVERSAL,
}

#: The constraint, its table, and what in an otherwise good row breaks it.
BREACHES = [
    ("accounts_pkey", accounts, {"user_id": "taken"}),
    ("accounts_held_not_negative", accounts, {"held_minor": -1}),
    ("accounts_available_above_minimum", accounts, {"held_minor": 101}),
    ("accounts_available_above_minimum", accounts, {"posted_minor": -1}),
    ("accounts_available_above_minimum", accounts, {"min_balance_minor": 101}),
    ("accounts_posted_within_limit", accounts, {"posted_minor": 9 * 10**18 + 1}),
    ("accounts_sequence_not_negative", accounts, {"sequence": -1}),
    ("transactions_pkey", transactions, {"transaction_id": "00000000-0000-8000-8000-00000000000f"}),
    ("transactions_amount_not_negative", transactions, {"amount_minor": -1}),
    (
        "transactions_sides_differ",
        transactions,
        {"source_user_id": "alice", "target_user_id": "alice"},
    ),
    ("transactions_refusal_has_reason", transactions, {"state": "REFUSED"}),
    ("transactions_refusal_has_reason", transactions, {"refusal_reason": "ACCOUNT_CLOSED"}),
    ("entries_pkey", entries, {"user_id": "taken"}),
    ("entries_sequence_positive", entries, {"sequence": 0}),
    ("entries_amount_not_zero", entries, {"amount_minor": 0}),
    ("holds_pkey", holds, {"user_id": "taken"}),
    ("holds_amount_positive", holds, {"amount_minor": 0}),
    ("holds_captured_within_amount", holds, {"captured_minor": 101}),
    ("holds_captured_within_amount", holds, {"captured_minor": -1}),
    ("reversals_pkey", reversals, {"reversed_minor": 2}),
    ("reversals_reversed_positive", reversals, {"reversed_minor": 0}),
]
NOT_NULL = [
    (table, column.name) for table in GOOD for column in table.columns if not column.nullable
]


def _insert(database: Database, table: Table, row: dict[str, object]) -> None:
    with database.transaction() as connection:
        connection.execute(insert(table).values(row))


def _row_count(database: Database, table: Table) -> int:
    with database.reader.connect() as connection:
        return len(connection.execute(select(table)).all())


def test_migrations_make_exactly_the_schema_of_the_code(database: Database) -> None:
    with database.writer.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )

        assert compare_metadata(context, metadata) == []


def test_the_version_needed_is_that_of_the_last_step() -> None:
    steps = ScriptDirectory.from_config(_config())

    assert steps.get_heads() == [VERSION]
    assert {step.revision for step in steps.walk_revisions()} == {VERSION, *EARLIER}


def test_every_named_constraint_is_tried_here() -> None:
    named = {
        constraint.name for table in metadata.sorted_tables for constraint in table.constraints
    }

    assert {name for name, _, _ in BREACHES} == named


@pytest.mark.parametrize(("constraint", "table", "breach"), BREACHES, ids=str)
def test_a_row_that_breaks_a_rule_is_refused(
    database: Database, constraint: str, table: Table, breach: dict[str, object]
) -> None:
    row = {**GOOD[table], **breach}
    if constraint.endswith("_pkey"):
        _insert(database, table, row)
    before = _row_count(database, table)

    with pytest.raises((IntegrityError, RolledBack), match=r"(?i)constraint") as refused:
        _insert(database, table, row)

    # SQLite names a broken primary key by its columns.
    assert constraint in str(refused.value) or "UNIQUE" in str(refused.value)
    assert _row_count(database, table) == before


@pytest.mark.parametrize(("table", "column"), NOT_NULL, ids=str)
def test_a_row_that_lacks_a_value_is_refused(database: Database, table: Table, column: str) -> None:
    with pytest.raises(IntegrityError, match=f"(?i)not.null.*{column}|{column}.*not.null"):
        _insert(database, table, {**GOOD[table], column: None})

    assert _row_count(database, table) == 0


@pytest.mark.parametrize("table", GOOD, ids=str)
def test_a_good_row_is_taken(database: Database, table: Table) -> None:
    _insert(database, table, GOOD[table])

    assert _row_count(database, table) == 1


def test_an_empty_database_is_not_served(empty: Database) -> None:
    with pytest.raises(SchemaOutOfDate, match=r"version none.*`wallet migrate`"):
        check_schema(empty)


@pytest.mark.parametrize("version", ["9999", "0000", "1975ea83b712"])
def test_a_database_of_an_unknown_version_is_neither_served_nor_migrated(
    database: Database, version: str
) -> None:
    with database.transaction() as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{version}'"))

    for look in (check_schema, migrate):
        with pytest.raises(SchemaOutOfDate, match=rf"version {version}, .* or a later one"):
            look(database)


def test_migrating_again_changes_nothing(database: Database) -> None:
    _insert(database, accounts, ACCOUNT)

    version = migrate(database)

    check_schema(database)
    assert migrate(database) == version
    assert _row_count(database, accounts) == 1


def test_several_processes_can_migrate_at_once(empty_url: str, empty: Database) -> None:
    with Clients() as processes:
        migrating = processes.run(migrate_together, [(empty_url,)] * 8)
        versions = {process.result(60) for process in migrating}

    assert len(versions) == 1
    check_schema(empty)


def test_serving_a_database_that_was_not_migrated_says_what_to_do(
    postgres: StartedPostgres | GivenPostgres, tmp_path: Path
) -> None:
    url = create_database(postgres)

    refused = run_wallet("serve", directory=tmp_path, database_url=url)

    drop_database(postgres, url)
    assert refused.returncode == 1
    assert "wallet migrate" in refused.stderr
    assert "Traceback" not in refused.stderr
