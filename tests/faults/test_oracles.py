"""The judges of the fault tests are themselves put to the test: each kind of damage is seen."""

from dataclasses import replace
from pathlib import Path

import pytest
from harness.books import write_books
from harness.journal import Journal, Record, read_journals
from harness.oracles import assert_books_hold, assert_real_time_order
from sqlalchemy import text

from wallet_service.storage.database import open_database

TOTAL_MINOR = 1000 + 500 - 200 + 1000


@pytest.fixture
def honest(sqlite_url: str) -> list[Record]:
    """What a truthful journal says of two requests in the books."""
    database = open_database(sqlite_url)
    ids = write_books(database)
    database.close()
    sent = Record("3", "alice", "bob", 300, 1, "ok", 2, ids["transfer"], 2)
    refused = Record("5", "alice", "bob", 501, 3, "refused", 4, ids["refused"], reason="SHORT")
    return [sent, refused]


def _execute(database_url: str, statement: str) -> None:
    database = open_database(database_url)
    with database.transaction() as connection:
        assert connection.execute(text(statement)).rowcount > 0
    database.close()


def test_honest_books_pass(sqlite_url: str, honest: list[Record]) -> None:
    assert_books_hold(sqlite_url, honest, total_minor=TOTAL_MINOR)


@pytest.mark.parametrize(
    "lie",
    [
        {"request_id": "lost"},
        {"request_id": "lost", "verdict": "refused"},
        {"verdict": "refused"},
        {"verdict": "nothing"},
        {"verdict": "error"},
        {"verdict": "unknown"},
        {"amount_minor": 299},
        {"target": "carol"},
        {"kind": "HOLD"},
        {"kind": "CAPTURE"},
        {"about": "00000000-0000-8000-8000-00000000000f"},
        {"transaction_id": "00000000-0000-8000-8000-00000000000f"},
    ],
    ids=str,
)
def test_a_journal_that_contradicts_the_books_is_seen(
    sqlite_url: str, honest: list[Record], lie: dict[str, object]
) -> None:
    sent, refused = honest

    with pytest.raises(AssertionError):
        assert_books_hold(
            sqlite_url,
            [replace(sent, **lie), refused],  # type: ignore[arg-type]
            total_minor=TOTAL_MINOR,
        )


def test_a_batch_that_happened_by_halves_is_seen(sqlite_url: str, honest: list[Record]) -> None:
    halves = [replace(record, batch="both") for record in honest]

    with pytest.raises(AssertionError, match="halves"):
        assert_books_hold(sqlite_url, halves, total_minor=TOTAL_MINOR)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE accounts SET posted_minor = posted_minor + 1 WHERE user_id = 'alice'",
        "UPDATE accounts SET held_minor = 1 WHERE user_id = 'alice'",
        "UPDATE accounts SET held_minor = 0 WHERE user_id = 'dave'",
        "UPDATE holds SET captured_minor = 81 WHERE captured_minor = 80",
        "UPDATE holds SET state = 'VOIDED' WHERE captured_minor = 80",
        "DELETE FROM holds WHERE captured_minor = 80",
        "UPDATE accounts SET sequence = 4 WHERE user_id = 'alice'",
        "UPDATE entries SET sequence = 4 WHERE user_id = 'alice' AND sequence = 3",
        "UPDATE entries SET balance_minor = 1 WHERE user_id = 'alice' AND sequence = 2",
        "DELETE FROM entries WHERE user_id = 'alice' AND sequence = 2",
        "DELETE FROM accounts WHERE user_id = 'alice'",
        "DELETE FROM transactions WHERE request_id = '3'",
        "DELETE FROM transactions WHERE request_id = '5'",
        "UPDATE transactions SET request_id = '3', caller = 'alice' WHERE request_id = '4'",
    ],
)
def test_damaged_books_are_seen(sqlite_url: str, honest: list[Record], damage: str) -> None:
    _execute(sqlite_url, damage)

    with pytest.raises(AssertionError):
        assert_books_hold(sqlite_url, honest, total_minor=TOTAL_MINOR)


def test_made_up_money_is_seen(sqlite_url: str, honest: list[Record]) -> None:
    with pytest.raises(AssertionError):
        assert_books_hold(sqlite_url, honest, total_minor=TOTAL_MINOR + 1)


def test_an_answer_given_before_another_request_was_made_comes_first_in_the_books() -> None:
    early = Record("a", "alice", "bob", 1, invoked_at=1, verdict="ok", answered_at=2, sequence=2)
    late = Record("b", "alice", "bob", 1, invoked_at=3, verdict="ok", answered_at=4, sequence=1)

    with pytest.raises(AssertionError, match="too late"):
        assert_real_time_order([early, late])
    assert_real_time_order([replace(early, sequence=1), replace(late, sequence=2)])
    assert_real_time_order([replace(early, answered_at=5), late])


def test_a_journal_without_an_answer_is_in_doubt(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path) as journal:
        journal.write("inv", "a", source="alice", target="bob", amount_minor=1)
        journal.write("inv", "b", source="alice", target="bob", amount_minor=2)
        journal.write("ok", "a", transaction_id="t", sequence=7)

    first, second = read_journals([path])

    assert (first.verdict, first.sequence, first.transaction_id) == ("ok", 7, "t")
    assert (second.verdict, second.answered_at) == ("unknown", None)
