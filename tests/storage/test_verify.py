"""`verify` proves honest books, and names the damaged row of any others."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.books import ALICE, BOB, run_commands, write_books
from harness.commands import deposit, transfer, withdraw
from harness.processes import run_wallet
from sqlalchemy import case, delete, insert, select, update

from wallet_service.audit.verify import verify
from wallet_service.ledger.books import Entry, Transaction
from wallet_service.ledger.chain import entry_hash, transaction_digest
from wallet_service.ledger.commands import (
    AccountKey,
    CaptureHold,
    Command,
    Deposit,
    OpenAccount,
    ReverseTransaction,
    UpdateAccount,
    VoidHold,
)
from wallet_service.ledger.errors import LedgerCorrupt
from wallet_service.ledger.ids import transaction_id
from wallet_service.storage.audit_queries import Counts
from wallet_service.storage.database import Database
from wallet_service.storage.records import transaction_of
from wallet_service.storage.schema import accounts, entries, transactions

STRANGER = "00000000-0000-8000-8000-00000000000f"
LATER = 2 * 10**15  # the year 2033


@pytest.fixture
def ids(database: Database) -> dict[str, str]:
    """Books to damage; the ids of their transactions."""
    return write_books(database)


def _verify(database: Database) -> Counts:
    return verify(database, lambda _done, _total: None)


def _damage(database: Database, *statements: Any) -> None:
    with database.transaction() as connection:
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
    assert _verify(database) == Counts(accounts=5, entries=14, transactions=20, holds=5)


@pytest.mark.parametrize("is_reversed", [False, True])
def test_changes_of_one_batch_are_proven_whatever_their_ids(
    *, database: Database, ids: dict[str, str], is_reversed: bool
) -> None:
    names = ["a", "b"]
    names.sort(key=lambda name: transaction_id("service", name), reverse=is_reversed)
    states = ("FROZEN", "NO_DEBITS")

    run_commands(
        database,
        *(
            UpdateAccount(caller="service", request_id=name, target=ALICE, state=state)
            for name, state in zip(names, states, strict=True)
        ),
        OpenAccount(caller="service", request_id="again", target=ALICE),
    )

    assert _verify(database).transactions == 23


def test_an_account_that_was_changed_before_its_first_entry_is_proven(database: Database) -> None:
    for command in (
        OpenAccount(caller="service", request_id="opened", target=ALICE),
        UpdateAccount(caller="service", request_id="changed", target=ALICE, min_balance_minor=-5),
        OpenAccount(caller="service", request_id="again", target=ALICE),
    ):
        run_commands(database, command)

    assert _verify(database) == Counts(accounts=1, entries=0, transactions=3, holds=0)


def test_refused_changes_of_accounts_are_proven(database: Database) -> None:
    given = deposit("given", "alice", 100)
    closed, nobodys = (
        UpdateAccount(caller="service", request_id=key.user_id, target=key, state="CLOSED")
        for key in (ALICE, BOB)
    )
    outcomes = run_commands(database, given, closed, nobodys)

    assert [each.transaction.state for each in outcomes] == ["POSTED", "REFUSED", "REFUSED"]
    assert _verify(database) == Counts(accounts=1, entries=1, transactions=3, holds=0)


def test_what_was_given_back_in_full_is_proven(database: Database, ids: dict[str, str]) -> None:
    rest = ReverseTransaction(
        caller="service", is_service=True, request_id="rest", original_id=ids["sale"]
    )
    run_commands(database, rest)

    assert _verify(database) == Counts(accounts=5, entries=16, transactions=21, holds=5)


def test_empty_books_are_proven(database: Database) -> None:
    assert _verify(database) == Counts(0, 0, 0, 0)


def test_progress_reaches_the_number_of_rows(database: Database, ids: dict[str, str]) -> None:
    seen: list[tuple[int, int]] = []

    verify(database, lambda done, total: seen.append((done, total)))

    assert seen[-1] == (44, 44)


def _peak_of_a_proof(database: Database) -> int:
    """Return the most bytes that Python's objects take at once during a proof."""
    tracemalloc.start()
    try:
        _verify(database)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_proof_takes_no_more_memory_for_more_accounts(database: Database) -> None:
    def open_accounts(first: int, last: int) -> None:
        names = [f"user-{number}" for number in range(first, last)]
        openings = [
            OpenAccount(caller="service", request_id=name, target=AccountKey(name, "RUB"))
            for name in names
        ]
        run_commands(database, *openings)

    open_accounts(0, 2000)  # more than are read at a time
    before = _peak_of_a_proof(database)
    open_accounts(2000, 6000)

    assert _peak_of_a_proof(database) - before < 200 * 4000


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


def test_an_account_missing_with_all_its_entries_is_found(
    database: Database, ids: dict[str, str]
) -> None:
    _damage(
        database,
        delete(entries).where(entries.c.user_id == "bob"),
        delete(accounts).where(accounts.c.user_id == "bob"),
    )

    # Nobody opened Bob's account: only who paid him tells of it.
    assert _corrupt_row(database) in {f"transactions {ids[name]}" for name in ("gift", "transfer")}


def _pay_and_undo_side(database: Database, user_id: str) -> Command:
    """Have Alice pay Bob, and set one of them back to before; return the payment."""
    is_theirs = accounts.c.user_id == user_id
    run_commands(database, *(deposit(name, name, 100) for name in ("alice", "bob")))
    with database.reader.connect() as connection:
        before = connection.execute(select(accounts).where(is_theirs)).one()
    moved = transfer("moved", ("alice", "bob"), 10)
    run_commands(database, moved)
    _damage(
        database,
        delete(entries).where(_entry(user_id, 2)),
        update(accounts).where(is_theirs).values(before._asdict()),
    )
    return moved


@pytest.mark.parametrize("user_id", ["alice", "bob"])
def test_an_account_set_back_to_before_its_last_entry_is_found(
    database: Database, user_id: str
) -> None:
    moved = _pay_and_undo_side(database, user_id)

    # The other's entry, of the same number, does not stand for theirs.
    assert _corrupt_row(database) == f"transactions {moved.transaction_id}"


def _recorded(database: Database, command: Command) -> Transaction:
    rows = select(transactions).where(transactions.c.transaction_id == command.transaction_id)
    with database.reader.connect() as connection:
        return transaction_of(connection.execute(rows).one())


def _forge(database: Database, record: Transaction, **changes: object) -> list[Any]:
    """Change the transaction of alice's second and last entry so that every hash fits again."""
    with database.reader.connect() as connection:
        first, second = (
            Entry._make(connection.execute(select(entries).where(_entry("alice", each))).one())
            for each in (1, 2)
        )
    digest = transaction_digest(record._replace(**changes))
    fitting = entry_hash(second, previous_hash=first.hash, digest=digest)
    row = transactions.c.transaction_id == record.transaction_id
    return [
        update(transactions).where(row).values(changes),
        update(entries).where(_entry("alice", 2)).values(hash=fitting),
        update(accounts).where(accounts.c.user_id == "alice").values(head_hash=fitting),
    ]


def test_a_payment_that_reached_nobody_is_found_though_every_hash_fits(database: Database) -> None:
    moved = _pay_and_undo_side(database, "bob")
    _damage(database, *_forge(database, _recorded(database, moved), target_sequence=None))

    assert _corrupt_row(database) == f"transactions {moved.transaction_id}"


def test_a_refused_request_that_moved_money_is_found_though_every_hash_fits(
    database: Database,
) -> None:
    taken = withdraw("taken", "alice", 10)
    run_commands(database, deposit("given", "alice", 100), taken)
    refused = {"state": "REFUSED", "refusal_reason": "ACCOUNT_FROZEN"}
    _damage(database, *_forge(database, _recorded(database, taken), **refused))

    assert _corrupt_row(database) == f"transactions {taken.transaction_id}"


def test_a_missing_change_that_a_later_one_undid_is_found(
    database: Database, ids: dict[str, str]
) -> None:
    frozen, undone = (
        UpdateAccount(caller="service", request_id=state, target=ALICE, state=state)
        for state in ("FROZEN", "ACTIVE")
    )
    for command in (frozen, undone):
        run_commands(database, command)
    row = transactions.c.transaction_id == frozen.transaction_id
    _damage(database, delete(transactions).where(row))

    assert _corrupt_row(database) == "accounts alice/RUB"


def test_an_entry_at_another_moment_than_its_transaction_is_found(
    database: Database, ids: dict[str, str]
) -> None:
    earlier = update(entries).values(created_at=entries.c.created_at - 1)
    _damage(database, earlier.where(_entry("alice", 2)))

    assert _corrupt_row(database) == "entries alice/RUB #2"


def test_a_hold_that_was_captured_in_parts_is_proven(
    database: Database, ids: dict[str, str]
) -> None:
    for name, amount_minor in (("one", 10), ("two", 10), ("rest", None)):
        capture = CaptureHold(
            caller="service",
            is_service=True,
            request_id=name,
            hold_id=ids["held"],
            amount_minor=amount_minor,
            keep_remainder=True,
        )
        run_commands(database, capture)

    assert _verify(database).transactions == 23


def test_refused_uses_of_a_hold_are_proven(database: Database, ids: dict[str, str]) -> None:
    service: dict[str, Any] = {"caller": "service", "is_service": True}
    outcomes = run_commands(
        database,
        CaptureHold(**service, request_id="more", hold_id=ids["held"], amount_minor=101),
        VoidHold(**service, request_id="late", hold_id=ids["given_up"]),
    )

    reasons = [each.transaction.refusal_reason for each in outcomes]
    assert reasons == ["CAPTURE_EXCEEDS_HOLD", "HOLD_NOT_ACTIVE"]
    assert _verify(database).transactions == 22


def test_a_release_told_twice_is_found(database: Database, ids: dict[str, str]) -> None:
    void = select(transactions).where(transactions.c.transaction_id == ids["void"])
    with database.transaction() as connection:
        row = connection.execute(void).one()
        again = {"request_id": "again", "transaction_id": transaction_id("service", "again")}
        forged = transaction_of(row)._replace(**again)
        columns = {**row._mapping, **again, "digest": transaction_digest(forged)}
        connection.execute(insert(transactions).values(columns))

    assert _corrupt_row(database) == f"holds {ids['given_up']}"


def test_time_that_ran_backwards_is_found(database: Database, ids: dict[str, str]) -> None:
    for name, updated_at in (("late", LATER), ("early", 1)):
        moved = update(accounts).values(updated_at=updated_at)
        _damage(database, moved.where(accounts.c.user_id == "alice"))
        run_commands(
            database, Deposit(caller="service", request_id=name, target=ALICE, amount_minor=1)
        )

    assert _corrupt_row(database) == "entries alice/RUB #5"


@pytest.mark.parametrize(("user_id", "sequence"), [("alice", 3), ("dave", 5), ("erin", 4)])
@pytest.mark.parametrize("name", ["outflow_minor", "outflow_count"])
def test_an_outflow_changed_on_an_account_and_its_last_entry_alike_is_found(
    *, database: Database, ids: dict[str, str], user_id: str, sequence: int, name: str
) -> None:
    _damage(
        database,
        update(entries).where(_entry(user_id, sequence)).values({name: entries.c[name] + 1}),
        update(accounts).where(accounts.c.user_id == user_id).values({name: accounts.c[name] + 1}),
    )

    assert _corrupt_row(database) == f"entries {user_id}/RUB #{sequence}"


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
    with database.transaction() as connection:
        row = dict(connection.execute(copied).mappings().one())
        row |= {"transaction_id": STRANGER, "request_id": "forged", **forgery}
        if row["state"] == "POSTED":
            row |= {"refusal_reason": None, "refusal_values": None}
        connection.execute(insert(transactions).values(row))

    assert _corrupt_row(database) == f"transactions {STRANGER}"


def test_a_forged_transaction_that_claims_the_entry_of_another_is_found(
    database: Database, ids: dict[str, str]
) -> None:
    claimed = select(transactions).where(transactions.c.transaction_id == ids["gift"])
    forged = transaction_id("service", "forged")
    with database.transaction() as connection:
        row = dict(connection.execute(claimed).mappings().one())
        row |= {"transaction_id": forged, "caller": "service", "request_id": "forged"}
        connection.execute(insert(transactions).values(row))

    assert _corrupt_row(database) == f"transactions {forged}"


def test_swapped_amounts_are_found(database: Database, ids: dict[str, str]) -> None:
    swapped = case((entries.c.sequence == 2, -200), else_=-300)
    change = update(entries).values(amount_minor=swapped)
    _damage(database, change.where(entries.c.user_id == "alice", entries.c.sequence.in_([2, 3])))

    assert _corrupt_row(database) == "entries alice/RUB #2"


def test_the_command_names_the_damaged_row_and_fails(
    database: Database, database_url: str, ids: dict[str, str], tmp_path: Path
) -> None:
    proven = run_wallet("verify", directory=tmp_path, database_url=database_url)
    _damage(database, update(entries).values(balance_minor=701).where(_entry("alice", 2)))
    damaged = run_wallet("verify", directory=tmp_path, database_url=database_url)

    assert proven.returncode == 0, proven.stderr
    assert "5 accounts, 14 entries, 20 transactions, 5 holds" in proven.stdout
    assert damaged.returncode == 3
    assert "entries alice/RUB #2" in damaged.stderr
    assert "balance_minor is 701, expected 700" in damaged.stderr
    assert damaged.stdout == ""


def test_a_record_that_another_would_have_made_is_found(
    database: Database, ids: dict[str, str]
) -> None:
    without_entries = select(transactions).where(transactions.c.digest.is_not(None)).limit(1)
    with database.transaction() as connection:
        record = transaction_of(connection.execute(without_entries).one())
    forged = record._replace(caller="mallory")  # and a digest that fits
    forged = forged._replace(digest=transaction_digest(forged))
    columns = {"caller": forged.caller, "digest": forged.digest}
    row = transactions.c.transaction_id == record.transaction_id
    _damage(database, update(transactions).where(row).values(columns))

    assert _corrupt_row(database) == f"transactions {record.transaction_id}"
