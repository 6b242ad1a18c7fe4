"""`verify` proves honest books, and names the damaged row of any others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.books import write_books
from harness.processes import run_wallet, wallet_environment
from sqlalchemy import Table, case, delete, insert, select, update

from wallet_service.audit.verify import verify
from wallet_service.ledger.errors import LedgerCorrupt
from wallet_service.storage.audit_queries import Counts
from wallet_service.storage.database import Database
from wallet_service.storage.schema import accounts, entries, metadata, transactions

STRANGER = "00000000-0000-8000-8000-00000000000f"
LATER = 2 * 10**15  # the year 2033
ACCOUNT_TAMPERS: dict[str, Any] = {
    "user_id": "mallory",
    "currency_code": "USD",
    "posted_minor": 501,
    "held_minor": 1,
    "min_balance_minor": -1000,
    "sequence": 4,
    "head_hash": bytes(32),
    "state": "FROZEN",
    "created_at": LATER,
    "updated_at": LATER,
}
ENTRY_TAMPERS: dict[str, Any] = {
    "user_id": "mallory",
    "currency_code": "USD",
    "sequence": 9,
    "transaction_id": STRANGER,
    "amount_minor": -299,
    "balance_minor": 701,
    "hash": bytes(32),
    "created_at": LATER,
}
TRANSACTION_TAMPERS: dict[str, Any] = {
    "transaction_id": STRANGER,
    "caller": "mallory",
    "request_id": "other",
    "kind": "DEPOSIT",
    "state": "PENDING",
    "refusal_reason": "ACCOUNT_CLOSED",
    "refusal_values": {"user_id": "mallory"},
    "source_user_id": "mallory",
    "source_sequence": 9,
    "target_user_id": "mallory",
    "target_sequence": 9,
    "currency_code": "USD",
    "amount_minor": 7,
    "hold_id": STRANGER,
    "reversal_of": STRANGER,
    "description": "other",
    "metadata": {"month": "June"},
    "digest": b"\1" * 32,
    "created_at": LATER,
}
TAMPERS = {accounts: ACCOUNT_TAMPERS, entries: ENTRY_TAMPERS, transactions: TRANSACTION_TAMPERS}
# A state and a refusal that do not agree are refused by the schema already.
TRANSACTION_CASES = [
    (request, column)
    for request in ("transfer", "withdrawal", "refused", "opening")
    for column in TRANSACTION_TAMPERS
    if not (column == "state" and request == "refused")
    if not (column == "refusal_reason" and request != "refused")
]
#: The rows that damage to Alice's second entry, or to her account, may be told by.
ALICES_ROWS = {
    *(f"accounts {key}" for key in ("alice/RUB", "alice/USD", "mallory/RUB")),
    *(f"entries alice/RUB #{sequence}" for sequence in (1, 2, 3)),
    "entries alice/USD #2",
    "entries mallory/RUB #2",
}


@pytest.fixture
def ids(database: Database) -> dict[str, str]:
    """Books to damage; the ids of their transactions."""
    return write_books(database)


def _verify(database: Database) -> Counts:
    return verify(database, lambda _done, _total: None)


def _damage(database: Database, *statements: Any) -> None:
    with database.writer.begin() as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount > 0


def _corrupt_row(database: Database) -> str:
    with pytest.raises(LedgerCorrupt) as corrupt:
        _verify(database)

    assert corrupt.value.reason == "LEDGER_CORRUPT"
    return str(corrupt.value.values["row"])


def _entry(user_id: str, sequence: int) -> Any:
    return (entries.c.user_id == user_id) & (entries.c.sequence == sequence)


def test_honest_books_are_proven_with_their_counts(database: Database, ids: dict[str, str]) -> None:
    assert _verify(database) == Counts(accounts=3, entries=5, transactions=6)


def test_empty_books_are_proven(database: Database) -> None:
    assert _verify(database) == Counts(0, 0, 0)


def test_progress_reaches_the_number_of_rows(database: Database, ids: dict[str, str]) -> None:
    seen: list[tuple[int, int]] = []

    verify(database, lambda done, total: seen.append((done, total)))

    assert seen[-1] == (14, 14)


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=str)
def test_every_column_is_tampered_with_here(table: Table) -> None:
    assert TAMPERS[table].keys() == set(table.columns.keys())


@pytest.mark.parametrize("column", ACCOUNT_TAMPERS)
def test_a_change_to_any_column_of_an_account_is_found(
    database: Database, ids: dict[str, str], column: str
) -> None:
    change = update(accounts).values({column: ACCOUNT_TAMPERS[column]})
    _damage(database, change.where(accounts.c.user_id == "alice"))

    assert _corrupt_row(database) in ALICES_ROWS


@pytest.mark.parametrize("column", ENTRY_TAMPERS)
def test_a_change_to_any_column_of_an_entry_is_found(
    database: Database, ids: dict[str, str], column: str
) -> None:
    change = update(entries).values({column: ENTRY_TAMPERS[column]})
    _damage(database, change.where(_entry("alice", 2)))

    assert _corrupt_row(database) in ALICES_ROWS


@pytest.mark.parametrize(("request_name", "column"), TRANSACTION_CASES)
def test_a_change_to_any_column_of_a_transaction_is_found(
    database: Database, ids: dict[str, str], request_name: str, column: str
) -> None:
    transaction_id = ids[request_name]
    lines = {
        "transfer": {"entries alice/RUB #2", "entries bob/RUB #2"},
        "withdrawal": {"entries alice/RUB #3"},
    }
    change = update(transactions).values({column: TRANSACTION_TAMPERS[column]})
    _damage(database, change.where(transactions.c.transaction_id == transaction_id))

    expected = {f"transactions {transaction_id}", f"transactions {STRANGER}"}
    assert _corrupt_row(database) in expected | lines.get(request_name, set())


DELETIONS: dict[str, Callable[[dict[str, str]], Any]] = {
    "entries alice/RUB #1": lambda _: delete(entries).where(_entry("alice", 1)),
    "entries alice/RUB #2": lambda _: delete(entries).where(_entry("alice", 2)),
    "accounts alice/RUB": lambda _: delete(entries).where(_entry("alice", 3)),
    "accounts bob/RUB": lambda _: delete(entries).where(entries.c.user_id == "bob"),
    "entries bob/RUB #1": lambda _: delete(accounts).where(accounts.c.user_id == "bob"),
    "carol": lambda _: delete(accounts).where(accounts.c.user_id == "carol"),
    "entries alice/RUB #3": lambda ids: delete(transactions).where(
        transactions.c.transaction_id == ids["withdrawal"]
    ),
}


@pytest.mark.parametrize("named", DELETIONS)
def test_a_missing_row_is_found(database: Database, ids: dict[str, str], named: str) -> None:
    _damage(database, DELETIONS[named](ids))

    # Carol has no entry: only the transaction that opened her account tells of it.
    expected = f"transactions {ids['opening']}" if named == "carol" else named
    assert _corrupt_row(database) == expected


def test_all_accounts_missing_is_found(database: Database, ids: dict[str, str]) -> None:
    _damage(database, delete(accounts))

    assert _corrupt_row(database) == "entries alice/RUB #1"


@pytest.mark.parametrize("user_id", ["alice", "mallory", "aaron"])
def test_a_forged_entry_is_found(database: Database, ids: dict[str, str], user_id: str) -> None:
    forged = {
        "user_id": user_id,
        "currency_code": "RUB",
        "sequence": 4 if user_id == "alice" else 1,
        "transaction_id": ids["gift"],
        "amount_minor": 500,
        "balance_minor": 1000 if user_id == "alice" else 500,
        "hash": b"\1" * 32,
        "created_at": LATER,
    }
    _damage(database, insert(entries).values(forged))

    assert _corrupt_row(database) == f"entries {user_id}/RUB #{forged['sequence']}"


@pytest.mark.parametrize("forgery", [{"state": "POSTED"}, {"amount_minor": 0}, {}])
def test_a_forged_transaction_is_found(
    database: Database, ids: dict[str, str], forgery: dict[str, object]
) -> None:
    copied = select(transactions).where(transactions.c.transaction_id == ids["refused"])
    with database.writer.begin() as connection:
        row = dict(connection.execute(copied).mappings().one())
        row |= {"transaction_id": STRANGER, "request_id": "forged", **forgery}
        if row["state"] == "POSTED":
            row |= {"refusal_reason": None, "refusal_values": None}
        connection.execute(insert(transactions).values(row))

    assert _corrupt_row(database) == f"transactions {STRANGER}"


def test_swapped_amounts_are_found(database: Database, ids: dict[str, str]) -> None:
    swapped = case((entries.c.sequence == 2, -200), else_=-300)
    change = update(entries).values(amount_minor=swapped)
    _damage(database, change.where(entries.c.user_id == "alice", entries.c.sequence.in_([2, 3])))

    assert _corrupt_row(database) == "entries alice/RUB #2"


def test_the_command_names_the_damaged_row_and_fails(
    database: Database, database_url: str, ids: dict[str, str], tmp_path: Path
) -> None:
    environment = wallet_environment(tmp_path, database_url)
    proven = run_wallet("verify", directory=tmp_path, environment=environment)
    _damage(database, update(entries).values(balance_minor=701).where(_entry("alice", 2)))
    damaged = run_wallet("verify", directory=tmp_path, environment=environment)

    assert proven.returncode == 0, proven.stderr
    assert "3 accounts, 5 entries, 6 transactions" in proven.stdout
    assert damaged.returncode == 1
    assert "entries alice/RUB #2" in damaged.stderr
    assert "balance_minor is 701, expected 700" in damaged.stderr
    assert damaged.stdout == ""
