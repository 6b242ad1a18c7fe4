"""`wallet statement` and `wallet export`, read back by programs that are not ours."""

import csv
import io
import json
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from harness.processes import wallet_environment
from sqlalchemy import text
from wallet_client import InsufficientFunds, Wallet
from wallet_client.v1.types_pb2 import Transaction

from wallet_service.storage.database import open_database

_WALLET = [sys.executable, "-c", "from wallet_service.cli import main; main()"]

AWKWARD = 'обед "на\\двоих";\t\r\n,\x1b[2J\u2028 𝄞'
# Spelled carelessly, some of these would become the same Beancount account.
ODD_USERS = ("a-b", "a_b", "a.b", "A-B", "user:1", "a-2Db", "a", "0", "Assets:External", "~" * 128)


class Books:
    """The commands, on the books of a server under way."""

    def __init__(self, directory: Path, database_url: str) -> None:
        self._directory = directory
        self._database_url = database_url

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `wallet`; line ends come as they are printed."""
        outcome = subprocess.run(
            [*_WALLET, *arguments],
            cwd=self._directory,
            env=wallet_environment(self._directory, self._database_url),
            capture_output=True,
            timeout=120,
            check=False,
        )
        printed, complaint = outcome.stdout.decode(), outcome.stderr.decode()
        return subprocess.CompletedProcess(outcome.args, outcome.returncode, printed, complaint)

    def print(self, *arguments: str) -> str:
        """Run `wallet` without a complaint."""
        outcome = self.run(*arguments)
        assert (outcome.returncode, outcome.stderr) == (0, "")
        return outcome.stdout

    def statement(self, *arguments: str) -> dict[str, Any]:
        """Read a statement as JSON."""
        read: dict[str, Any] = json.loads(self.print("statement", *arguments, "--format", "json"))
        return read

    def damage(self, statement: str) -> None:
        """Change a row by hand."""
        with (
            closing(open_database(self._database_url)) as database,
            database.writer.begin() as connection,
        ):
            connection.execute(text(statement))


@pytest.fixture
def books(service: Wallet, database_url: str, tmp_path: Path) -> Books:
    """Books of a server, on a database of each kind in turn."""
    return Books(tmp_path, database_url)


@pytest.fixture
def history(service: Wallet) -> list[Transaction]:
    """Four lines of Alice's, and some requests that leave none."""
    service.open_account("bob")
    first = service.deposit(10_000, user_id="alice", description="salary")
    second = service.transfer("bob", 2_550, user_id="alice", description=AWKWARD)
    hold = service.create_hold(1_000, user_id="alice", to_user_id="bob").hold
    third = service.capture_hold(hold.hold_id, 600)
    with pytest.raises(InsufficientFunds):
        service.withdraw(6_851, user_id="alice")
    fourth = service.reverse(third.transaction.transaction_id, 100)
    service.deposit(7, user_id="alice", currency_code="USD")
    return [each.transaction for each in (first, second, third, fourth)]


def _time(timestamp: Timestamp) -> str:
    return timestamp.ToJsonString()


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
    first, second, third, fourth = (_time(each.create_time) for each in history)
    periods = {
        ("--from", second, "--to", fourth): [2, 3],
        ("--from", third): [3, 4],
        ("--to", second): [1],
        ("--from", first, "--to", first): [],
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


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("alice", "--from", "yesterday"), "--from"),
        (("alice", "--from", "2026-02-30"), "--from"),
        (("alice", "--from", "0001-01-01T00:00:00+10:00"), "--from"),
        (("alice", "--to", ""), "--to"),
        (("alice", "--to", "2026-11-23T25:00:00Z"), "--to"),
        (("alice", "--to", "9999-12-31"), "--to"),
        (("alice", "--from", "2026-11-23", "--to", "2026-11-21"), "--to"),
        (("alice", "--currency", "rub"), "--currency"),
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
    ],
)
def test_a_statement_stops_at_a_damaged_line(books: Books, damage: str) -> None:
    books.damage(damage)

    outcome = books.run("statement", "alice", "--format", "csv")

    assert outcome.returncode == 1
    assert "DAMAGED entries alice/RUB" in outcome.stderr
    assert "CLOSING" not in outcome.stdout


@pytest.mark.usefixtures("history")
def test_json_lines_hold_every_transaction_in_the_order_of_time(
    books: Books, service: Wallet
) -> None:
    records = [json.loads(line) for line in _lines(books.print("export"))]

    assert [record["kind"] for record in records] == [
        *("OPEN_ACCOUNT", "DEPOSIT", "TRANSFER", "HOLD", "CAPTURE"),
        *("WITHDRAWAL", "REVERSAL", "DEPOSIT"),
    ]
    assert records[2]["description"] == AWKWARD
    assert (records[5]["state"], records[5]["refusal_reason"]) == ("REFUSED", "INSUFFICIENT_FUNDS")
    assert records[6]["reversal_of"] == records[4]["transaction_id"]
    for record in records:
        stored = service.transaction(transaction_id=record["transaction_id"])
        assert stored.amount.minor_units == record["amount_minor"]
        assert _time(stored.create_time) == record["created_at"].replace("+00:00", "Z")


@pytest.mark.usefixtures("history")
def test_csv_holds_the_same_as_json_lines(books: Books) -> None:
    printed = books.print("export", "--format", "csv")

    rows = list(csv.DictReader(io.StringIO(printed, newline="")))

    records = [json.loads(line) for line in _lines(books.print("export"))]
    assert rows == [{name: _as_in_csv(value) for name, value in each.items()} for each in records]
    assert rows[2]["description"] == AWKWARD


def _lines(text: str) -> list[str]:
    """Split at line feeds only, not at whatever Unicode breaks lines with."""
    return text.split("\n")[:-1]


def _as_in_csv(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return "" if value is None else str(value)


def test_an_export_of_no_transactions_is_one_too(books: Books, tmp_path: Path) -> None:
    assert books.print("export", "--format", "jsonl") == ""
    assert len(books.print("export", "--format", "csv").splitlines()) == 1
    assert _bean_check(books, tmp_path) == (0, "")


def _odd_history(service: Wallet) -> None:
    """Give users with odd names money of several kinds, holds, reversals and a debt."""
    for user_id in ODD_USERS:
        sent = service.deposit(1_001, user_id=user_id, description=AWKWARD)
        service.reverse(sent.transaction.transaction_id, 1)
        service.deposit(7, user_id=user_id, currency_code="JPY")
        service.deposit(1_234_567, user_id=user_id, currency_code="KWD")
    payer, shop, *_ = ODD_USERS
    service.update_account(payer, min_balance_minor=-5_000)
    service.withdraw(3_000, user_id=payer, description='a "loan"')
    kept = service.create_hold(300, user_id=payer, to_user_id=shop).hold
    taken = service.capture_hold(kept.hold_id, 100, keep_remainder=True)
    service.reverse(taken.transaction.transaction_id, 40)
    service.transfer(shop, 7, user_id=payer, currency_code="JPY")


def _bean_check(books: Books, directory: Path) -> tuple[int, str]:
    """Export to Beancount; return how `bean-check` ends and what it says."""
    path = directory / "ledger.beancount"
    path.write_text(books.print("export", "--format", "beancount"))
    checked = subprocess.run(
        [Path(sys.executable).with_name("bean-check"), "--no-cache", path],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return checked.returncode, checked.stdout + checked.stderr


def test_beancount_finds_the_exported_books_in_order(
    books: Books, service: Wallet, tmp_path: Path
) -> None:
    _odd_history(service)

    assert _bean_check(books, tmp_path) == (0, "")

    exported = (tmp_path / "ledger.beancount").read_text()
    for currency_code, users in (("RUB", 10), ("JPY", 10), ("KWD", 10)):
        opened = {line for line in exported.splitlines() if line.endswith(f":{currency_code}")}
        assert len({line.split()[2] for line in opened if " open " in line}) == users
    assert "Liabilities:Wallet:Ua-2Db:RUB 20.60 ~ 0 RUB" in exported


def test_beancount_finds_a_balance_that_is_one_kopeck_off(
    books: Books, service: Wallet, tmp_path: Path
) -> None:
    _odd_history(service)
    books.damage("UPDATE accounts SET posted_minor = posted_minor + 1 WHERE user_id = 'user:1'")

    code, complaint = _bean_check(books, tmp_path)

    assert code == 1
    assert "Balance failed for 'Liabilities:Wallet:Uuser-3A1:RUB'" in complaint
