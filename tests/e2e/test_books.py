"""`wallet export`: the whole books, read back by programs that are not ours."""

import csv
import io
import json
import subprocess
import sys
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest
from harness.printed import AWKWARD, Books
from wallet_client import InsufficientFunds, Wallet

# Spelled carelessly, some of these would become the same Beancount account.
ODD_USERS = ("a-b", "a_b", "a.b", "A-B", "user:1", "a-2Db", "a", "0", "Assets:External", "~" * 128)
DAY_US = timedelta(days=1) // timedelta(microseconds=1)


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
        made = stored.create_time.ToDatetime(UTC)
        assert record["created_at"] == made.isoformat(timespec="microseconds")


@pytest.mark.usefixtures("history")
def test_a_whole_second_is_written_as_any_other_time(books: Books) -> None:
    books.damage("UPDATE transactions SET created_at = 1767225600000000")

    times = {json.loads(line)["created_at"] for line in _lines(books.print("export"))}

    assert times == {"2026-01-01T00:00:00.000000+00:00"}


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("kind", ["TRANSFER", "REVERSAL"])
def test_an_export_is_in_the_order_of_time_whatever_the_ids(books: Books, kind: str) -> None:
    books.damage(f"UPDATE transactions SET created_at = created_at - 1000000 WHERE kind = '{kind}'")

    records = [json.loads(line) for line in _lines(books.print("export"))]

    assert records[0]["kind"] == kind
    times = [record["created_at"] for record in records]
    assert times == sorted(times)


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


@pytest.mark.usefixtures("history")
def test_an_export_shows_how_far_it_is_to_people_only(books: Books) -> None:
    printed, shown = books.print_beside_a_terminal("export")

    assert printed == books.print("export")
    assert "exporting" in shown
    assert "8/8" in shown


def test_an_export_of_no_transactions_is_one_too(books: Books, tmp_path: Path) -> None:
    assert books.print("export", "--format", "jsonl") == ""
    assert len(books.print("export", "--format", "csv").splitlines()) == 1
    assert _bean_check(books, tmp_path) == (0, "")


def _odd_history(service: Wallet) -> None:
    """Give users with odd names money of several kinds, holds, reversals, a debt, a refusal."""
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
    with pytest.raises(InsufficientFunds):
        service.withdraw(1_000_000, user_id=shop)


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
    records = [json.loads(line) for line in _lines(books.print("export"))]
    (loan_id,) = (each["transaction_id"] for each in records if "loan" in each["description"])
    assert f'  transaction_id: "{loan_id}"\n' in exported


def test_beancount_finds_books_of_several_days_in_order(
    books: Books, service: Wallet, tmp_path: Path
) -> None:
    _odd_history(service)
    for table, column, days, others in (
        ("accounts", "created_at", 3, "user_id <> 'user:1'"),
        ("accounts", "created_at", 1, "user_id = 'user:1'"),
        ("accounts", "updated_at", 1, "user_id <> 'user:1'"),
        ("transactions", "created_at", 3, "'user:1' NOT IN (source_user_id, target_user_id)"),
    ):
        earlier = f"{column} = {column} - {days * DAY_US}"
        books.damage(f"UPDATE {table} SET {earlier} WHERE {others}")

    assert _bean_check(books, tmp_path) == (0, "")


def test_beancount_takes_a_currency_that_is_no_longer_current_in_minor_units(
    books: Books, service: Wallet, tmp_path: Path
) -> None:
    _odd_history(service)
    books.retire("RUB", "BGN")

    assert _bean_check(books, tmp_path) == (0, "")

    exported = (tmp_path / "ledger.beancount").read_text()
    assert "Liabilities:Wallet:Ua-2Db:BGN 2060 ~ 0 BGN-MINOR" in exported
    assert " ~ 0 KWD" in exported


def test_beancount_finds_a_balance_that_is_one_kopeck_off(
    books: Books, service: Wallet, tmp_path: Path
) -> None:
    _odd_history(service)
    books.damage("UPDATE accounts SET posted_minor = posted_minor + 1 WHERE user_id = 'user:1'")

    code, complaint = _bean_check(books, tmp_path)

    assert code == 1
    assert "Balance failed for 'Liabilities:Wallet:Uuser-3A1:RUB'" in complaint
