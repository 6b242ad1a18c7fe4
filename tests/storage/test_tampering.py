"""Whatever column of whatever row is changed behind the ledger's back, `verify` finds it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from harness.books import run_commands, write_books
from sqlalchemy import Table, and_, delete, insert, select, update

from wallet_service.audit.verify import verify
from wallet_service.ledger.commands import CaptureHold, ReverseTransaction
from wallet_service.ledger.errors import LedgerCorrupt
from wallet_service.storage.database import Database
from wallet_service.storage.schema import (
    accounts,
    entries,
    holds,
    metadata,
    reversals,
    transactions,
)

STRANGER = "00000000-0000-8000-8000-00000000000f"
LATER = 2 * 10**15  # the year 2033
TAMPERS: dict[Table, dict[str, Any]] = {
    accounts: {
        "user_id": "mallory",
        "currency_code": "USD",
        "posted_minor": 501,
        "held_minor": 1,
        "min_balance_minor": -1000,
        "sequence": 9,
        "head_hash": bytes(32),
        "state": "FROZEN",
        "created_at": LATER,
        "updated_at": LATER,
        "outflow_minor": 7,
        "outflow_count": 7,
        "open_holds": 7,
        "limits": [["CALENDAR_DAY", 901, 10]],
    },
    entries: {
        "user_id": "mallory",
        "currency_code": "USD",
        "sequence": 9,
        "transaction_id": STRANGER,
        "amount_minor": -299,
        "balance_minor": 701,
        "hash": bytes(32),
        "created_at": LATER,
        "outflow_minor": 7,
        "outflow_count": 7,
    },
    transactions: {
        "transaction_id": STRANGER,
        "caller": "mallory",
        "request_id": "other",
        "kind": "DEPOSIT",
        "state": "PENDING",
        "refusal_reason": "ACCOUNT_CLOSED",
        "refusal_values": {"user_id": "mallory"},
        "source_user_id": "mallory",
        "source_sequence": 9,
        "target_user_id": "zoe",
        "target_sequence": 9,
        "currency_code": "USD",
        "amount_minor": 7,
        "hold_id": STRANGER,
        "reversal_of": STRANGER,
        "description": "other",
        "metadata": {"month": "June"},
        "digest": b"\1" * 32,
        "created_at": LATER,
        "arguments": {"amount": 7},
    },
    holds: {
        "hold_id": STRANGER,
        "user_id": "mallory",
        "currency_code": "USD",
        "target_user_id": "mallory",
        "amount_minor": 999,
        "captured_minor": 7,
        "state": "VOIDED",
        "created_at": LATER,
        "updated_at": LATER,
        "expires_at": LATER,
        "description": "other",
        "metadata": {"room": "13"},
    },
    reversals: {"transaction_id": STRANGER, "reversed_minor": 7},
}
#: Rows that are not changed as above, because that is what they are or what the schema refuses.
OTHERWISE = {"given_up": {"state": "ACTIVE"}, "short": {"state": "CAPTURED"}}
REFUSED_BY_SCHEMA = {"refused": {"state"}}
TRANSACTIONS = (
    "transfer",
    "withdrawal",
    "refused",
    "opening",
    "update",
    "held",
    "part",
    "capture",
    "void",
    "expiry",
    "reversal",
)
HOLDS = ("held", "shared", "taken", "given_up", "short")
ROWS = [
    *((accounts, name) for name in ("alice", "dave", "erin")),
    *((entries, name) for name in ("alice 1", "alice 2", "dave 2", "dave 5", "erin 4")),
    *((transactions, name) for name in TRANSACTIONS),
    *((holds, name) for name in HOLDS),
    (reversals, "sale"),
]


@pytest.fixture
def ids(database: Database) -> dict[str, str]:
    """Books to damage; the ids of their transactions."""
    return write_books(database)


def _key(table: Table, row: dict[str, Any]) -> Any:
    return and_(*(column == row[column.name] for column in table.primary_key))


def _row(database: Database, table: Table, name: str, ids: dict[str, str]) -> dict[str, Any]:
    """Find a row: an account by its user, an entry by user and number, the rest by request."""
    query = select(table)
    if table is accounts:
        query = query.where(accounts.c.user_id == name)
    elif table is entries:
        user_id, sequence = name.split()
        query = query.where(entries.c.user_id == user_id, entries.c.sequence == int(sequence))
    else:
        query = query.where(next(iter(table.primary_key)) == ids[name])
    with database.reader.connect() as connection:
        return dict(connection.execute(query).mappings().one())


@contextmanager
def _changed(
    database: Database, table: Table, row: dict[str, Any], changes: dict[str, Any]
) -> Iterator[None]:
    """Change a row for as long as the block lasts."""
    with database.transaction() as connection:
        changing = update(table).where(_key(table, row)).values(changes)
        assert connection.execute(changing).rowcount == 1
    yield
    with database.transaction() as connection:
        restoring = update(table).where(_key(table, row | changes)).values(row)
        assert connection.execute(restoring).rowcount == 1


def _corrupt_row(database: Database) -> str:
    """Return the row that the proof fails at; empty if it does not."""
    try:
        verify(database, lambda _done, _total: None)
    except LedgerCorrupt as corrupt:
        return str(corrupt.values["row"])
    return ""


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=str)
def test_every_column_is_tampered_with_here(table: Table) -> None:
    assert TAMPERS[table].keys() == set(table.columns.keys())
    assert table in {table for table, _ in ROWS}


@pytest.mark.parametrize(("table", "name"), ROWS, ids=str)
def test_a_change_to_any_column_is_found(
    database: Database, ids: dict[str, str], table: Table, name: str
) -> None:
    row = _row(database, table, name, ids)
    tampers = TAMPERS[table] | OTHERWISE.get(name, {}) if table is holds else TAMPERS[table]
    skipped = REFUSED_BY_SCHEMA.get(name, set())
    if table is transactions and name != "refused":
        skipped = {"refusal_reason"}

    overlooked = []
    for column, value in tampers.items():
        if column in skipped:
            continue
        assert row[column] != value, column
        with _changed(database, table, row, {column: value}):
            if not _corrupt_row(database):
                overlooked.append(column)

    assert overlooked == []
    assert not _corrupt_row(database), "the row was not restored"


@pytest.mark.parametrize("name", HOLDS)
def test_a_hold_said_to_have_changed_earlier_is_found(
    database: Database, ids: dict[str, str], name: str
) -> None:
    row = _row(database, holds, name, ids)

    with _changed(database, holds, row, {"updated_at": row["updated_at"] - 1}):
        assert _corrupt_row(database) == f"holds {ids[name]}"


def test_a_capture_at_a_clock_that_is_behind_is_proven(
    database: Database, ids: dict[str, str]
) -> None:
    with database.transaction() as connection:
        # As if another server had moved something there just now; the capture puts it right again.
        moved = update(accounts).where(accounts.c.user_id == "erin").values(updated_at=LATER)
        connection.execute(moved)
    capture = CaptureHold(
        caller="service", is_service=True, request_id="late", hold_id=ids["held"], amount_minor=10
    )

    run_commands(database, capture)

    assert _row(database, holds, "held", ids)["updated_at"] == LATER
    assert not _corrupt_row(database)


def _reverse(database: Database, original_id: str, amount_minor: int) -> str:
    """Reverse a part of a transaction; return the reversal's id."""
    command = ReverseTransaction(
        caller="service",
        is_service=True,
        request_id="forged",
        original_id=original_id,
        amount_minor=amount_minor,
    )
    run_commands(database, command)
    return command.transaction_id


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("sale", {"target_user_id": "bob"}),
        ("sale", {"source_user_id": "alice"}),
        ("withdrawal", {"currency_code": "USD"}),
        ("refused", {"state": "POSTED", "refusal_reason": None}),
        ("held", {"kind": "TRANSFER"}),
    ],
    ids=str,
)
def test_a_reversal_of_what_was_made_to_look_otherwise_is_found(
    database: Database, ids: dict[str, str], name: str, changes: dict[str, Any]
) -> None:
    row = _row(database, transactions, name, ids)

    with _changed(database, transactions, row, changes):
        reversal_id = _reverse(database, ids[name], 10)

    assert _corrupt_row(database) == f"transactions {reversal_id}"


def test_a_reversal_of_what_was_there_for_a_while_is_found(
    database: Database, ids: dict[str, str]
) -> None:
    row = _row(database, transactions, "sale", ids) | {"transaction_id": STRANGER}
    with database.transaction() as connection:
        connection.execute(insert(transactions).values(row))
    reversal_id = _reverse(database, STRANGER, 10)
    with database.transaction() as connection:
        connection.execute(delete(transactions).where(_key(transactions, row)))

    assert _corrupt_row(database) == f"transactions {reversal_id}"


def test_more_given_back_than_there_was_is_found(database: Database, ids: dict[str, str]) -> None:
    row = _row(database, transactions, "withdrawal", ids)

    with _changed(database, transactions, row, {"amount_minor": 201}):
        _reverse(database, ids["withdrawal"], 201)

    assert _corrupt_row(database) == f"reversals {ids['withdrawal']}"


def test_what_is_noted_as_given_back_and_never_was_is_found(
    database: Database, ids: dict[str, str]
) -> None:
    noted = {"transaction_id": ids["transfer"], "reversed_minor": 300}
    with database.transaction() as connection:
        connection.execute(insert(reversals).values(noted))

    assert _corrupt_row(database) == f"reversals {ids['transfer']}"


@pytest.mark.parametrize("value", [None, [], [["CALENDAR_DAY", 900, None]]], ids=str)
def test_lifted_limits_are_found(database: Database, ids: dict[str, str], value: object) -> None:
    row = _row(database, accounts, "dave", ids)

    with _changed(database, accounts, row, {"limits": value}):
        assert _corrupt_row(database) == "accounts dave/RUB"


@pytest.mark.parametrize(
    ("table", "name", "named"),
    [
        *((holds, name, {"accounts dave/RUB", "holds {id}"}) for name in HOLDS),
        (reversals, "sale", {"reversals {id}"}),
        (transactions, "update", {"accounts dave/RUB"}),
        (transactions, "opening", {"accounts carol/RUB"}),
        (transactions, "void", {"holds {given_up}"}),
        (transactions, "expiry", {"holds {short}"}),
        (transactions, "held", {"holds {id}"}),
        (transactions, "part", {"entries dave/RUB #2", "entries erin/RUB #1"}),
        (transactions, "reversal", {"entries dave/RUB #5", "entries erin/RUB #4"}),
    ],
    ids=lambda part: "-".join(sorted(part)) if isinstance(part, set) else str(part),
)
def test_a_missing_hold_reversal_or_change_is_found(
    *, database: Database, ids: dict[str, str], table: Table, name: str, named: set[str]
) -> None:
    row = _row(database, table, name, ids)
    with database.transaction() as connection:
        assert connection.execute(delete(table).where(_key(table, row))).rowcount == 1

    assert _corrupt_row(database) in {each.format(id=ids[name], **ids) for each in named}
