"""`wallet statement`: what it prints in each format, for which time, and what stops it."""

import csv
import io
from datetime import UTC, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from harness.printed import AWKWARD, Books, rfc3339
from wallet_client import Wallet
from wallet_client.v1.types_pb2 import Transaction

from wallet_service.audit.writing import csv_line


def _day(timestamp: Timestamp, *, days: int = 0) -> str:
    return str((timestamp.ToDatetime() + timedelta(days=days)).date())


def _assert_agrees(statement: dict[str, Any]) -> None:
    """Make sure that opening balance and lines make the closing balance."""
    balance = Decimal(statement["opening_balance"])
    for line in statement["lines"]:
        balance += Decimal(line["amount"])
        assert Decimal(line["balance"]) == balance
    assert Decimal(statement["closing_balance"]) == balance


@pytest.mark.usefixtures("history")
def test_a_statement_leads_from_the_opening_to_the_closing_balance(books: Books) -> None:
    statement = books.statement("alice")

    _assert_agrees(statement)
    ends = (statement["opening_balance"], statement["closing_balance"])
    assert (statement["user_id"], statement["currency_code"], *ends) == (
        "alice",
        "RUB",
        "0.00",
        "69.50",
    )
    columns = ("sequence", "kind", "counterparty", "description", "amount")
    assert [[line[column] for column in columns] for line in statement["lines"]] == [
        [1, "DEPOSIT", "@external", "salary", "100.00"],
        [2, "TRANSFER", "bob", AWKWARD, "-25.50"],
        [3, "CAPTURE", "bob", "", "-6.00"],
        [4, "REVERSAL", "bob", "", "1.00"],
    ]


@pytest.mark.usefixtures("history")
def test_a_statement_as_csv_says_the_same(books: Books) -> None:
    printed = books.print("statement", "alice", "--format", "csv")

    opening, *lines, closing = csv.DictReader(io.StringIO(printed, newline=""))

    assert (opening["kind"], opening["balance"]) == ("OPENING", "0.00")
    assert (closing["kind"], closing["balance"]) == ("CLOSING", "69.50")
    shown = [{**line, "sequence": int(line["sequence"])} for line in lines]
    assert shown == books.statement("alice")["lines"]


@pytest.mark.parametrize(
    "text", ["a\rb", "a\nb", "a\r\nb", 'a"b', "a,b", "\r", " a ", ""], ids=repr
)
def test_a_line_of_csv_is_read_as_it_was_written(text: str) -> None:
    lines = csv_line(["before", text]) + csv_line(["after", text])

    assert list(csv.reader(io.StringIO(lines, newline=""))) == [["before", text], ["after", text]]


@pytest.mark.usefixtures("history")
def test_a_statement_as_a_table_has_a_line_each_whatever_was_described(books: Books) -> None:
    title, head, *rows = books.print("statement", "alice").splitlines()

    assert title == "alice, RUB, times in UTC"
    assert head.split() == [
        *("sequence", "time", "kind", "counterparty", "amount", "balance", "description")
    ]
    assert [row.split()[:1] for row in rows] == [
        ["OPENING"],
        ["1"],
        ["2"],
        ["3"],
        ["4"],
        ["CLOSING"],
    ]
    assert 'обед "на\\двоих";' in rows[2]
    assert all(row.isprintable() for row in rows)
    assert rows[-1].split() == ["CLOSING", "69.50"]


def test_a_statement_begins_and_ends_where_it_is_told(
    books: Books, history: list[Transaction]
) -> None:
    first, second, third, fourth = (rfc3339(each.create_time) for each in history)
    periods = {
        ("--from", second, "--to", fourth): [2, 3],
        ("--from", third): [3, 4],
        ("--to", second): [1],
        ("--to", first.replace("Z", "+00:00")): [],
    }

    for arguments, sequences in periods.items():
        statement = books.statement("alice", *arguments)

        _assert_agrees(statement)
        assert [line["sequence"] for line in statement["lines"]] == sequences


def test_the_days_of_a_statement_are_whole_ones(books: Books, history: list[Transaction]) -> None:
    first, last = history[0].create_time, history[-1].create_time
    all_days = books.statement("alice", "--from", _day(first), "--to", _day(last))
    before = books.statement("alice", "--to", _day(first, days=-1))
    after = books.statement("alice", "--from", _day(last, days=1))

    assert [line["sequence"] for line in all_days["lines"]] == [1, 2, 3, 4]
    for statement, balance in ((before, "0.00"), (after, "69.50")):
        assert statement["lines"] == []
        assert statement["opening_balance"] == statement["closing_balance"] == balance


def test_a_statement_tells_its_times_in_utc_wherever_it_is_printed(
    books: Books, history: list[Transaction], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "JST-9")
    begins, ends = "2000-01-01T12:30:00", "2100-01-01T12:30:00+03:00"

    printed = books.print("statement", "alice", "--format", "csv", "--from", begins, "--to", ends)

    opening, *lines, closing = csv.DictReader(io.StringIO(printed, newline=""))
    assert opening["time"] == "2000-01-01T12:30:00.000Z"
    assert closing["time"] == "2100-01-01T09:30:00.000Z"
    made = [each.create_time.ToDatetime(UTC) for each in history]
    assert [line["time"] for line in lines] == [
        each.isoformat(timespec="milliseconds").replace("+00:00", "Z") for each in made
    ]


@pytest.mark.usefixtures("history")
def test_a_statement_is_of_one_currency(books: Books) -> None:
    [line] = books.statement("alice", "--currency", "USD")["lines"]

    assert (line["amount"], line["balance"]) == ("0.07", "0.07")


def test_a_user_nobody_knows_has_a_statement_of_zeros(books: Books) -> None:
    statement = books.statement("nobody", "--currency", "JPY")

    assert statement == {
        "user_id": "nobody",
        "currency_code": "JPY",
        "opening_balance": "0",
        "lines": [],
        "closing_balance": "0",
    }


def test_a_currency_that_is_no_longer_current_is_shown_in_minor_units(
    books: Books, service: Wallet
) -> None:
    service.deposit(1_955, user_id="alice")
    books.retire("RUB", "BGN")

    statement = books.statement("alice", "--currency", "BGN")
    title = books.print("statement", "alice", "--currency", "BGN").splitlines()[0]

    assert (statement["currency_code"], statement["closing_balance"]) == ("BGN", "1955")
    assert title == "alice, BGN-MINOR, times in UTC"


@pytest.mark.parametrize("text_format", ["table", "json"])
def test_a_statement_may_go_to_the_last_day_there_is(
    books: Books, service: Wallet, text_format: str
) -> None:
    service.deposit(1_955, user_id="alice")

    printed = books.print("statement", "alice", "--to", "9999-12-31", "--format", text_format)

    assert "19.55" in printed


@pytest.mark.usefixtures("sqlite_url")
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("alice", "--from", "yesterday"), "--from"),
        (("alice", "--from", "2026-02-30"), "--from"),
        (("alice", "--from", "0001-01-01T00:00:00+10:00"), "--from"),
        (("alice", "--to", ""), "--to"),
        (("alice", "--to", "2026-11-23T25:00:00Z"), "--to"),
        (("alice", "--to", "10000-01-01"), "--to"),
        (("alice", "--from", "2026-11-23", "--to", "2026-11-21"), "--to"),
        (("alice", "--from", "2026-11-23T10:00:00Z", "--to", "2026-11-23T10:00:00Z"), "--to"),
        (("alice", "--currency", "rub"), "--currency"),
        pytest.param(("alice", "--currency", "\udcff"), "--currency", id="bytes that are no text"),
        (("@external",), "USER"),
        (("alice", "--format", "pdf"), "--format"),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, arguments: list[str], named: str) -> None:
    books = Books(tmp_path, f"sqlite:///{tmp_path / 'wallet.db'}")

    outcome = books.run("statement", *arguments)

    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert "Traceback" not in outcome.stderr
    assert named in outcome.stderr


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE entries SET amount_minor = -2549 WHERE user_id = 'alice' AND sequence = 2",
        "UPDATE entries SET balance_minor = 7451 WHERE user_id = 'alice' AND sequence = 2",
        "DELETE FROM entries WHERE user_id = 'alice' AND sequence = 2",
        "DELETE FROM entries WHERE user_id = 'alice' AND sequence = 4",
    ],
)
def test_a_statement_stops_at_a_damaged_line(books: Books, damage: str) -> None:
    books.damage(damage)

    outcome = books.run("statement", "alice", "--format", "csv")

    assert outcome.returncode == 3
    assert "DAMAGED entries alice/RUB" in outcome.stderr
    assert "CLOSING" not in outcome.stdout
