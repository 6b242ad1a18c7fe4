"""
The whole ledger as text: JSON lines, CSV, or a Beancount file.

In Beancount a user's money is a liability of the operator's, `Liabilities:Wallet:…`, and the
outside world is `Assets:External`; every account's balance is asserted at the end, so that
Beancount proves the books once more by its own rules.
"""

import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import orjson

from wallet_service.audit.transactions import name_of
from wallet_service.audit.writing import csv_line, moment_of, stored_moment, sum_of, unit_of
from wallet_service.ledger.books import EXTERNAL, Account, State, Transaction
from wallet_service.ledger.commands import MOVING_KINDS
from wallet_service.ledger.errors import LedgerCorrupt
from wallet_service.storage.audit_queries import (
    Snapshot,
    count_rows,
    stream_accounts,
    stream_transactions,
)
from wallet_service.storage.database import Database

_COLUMNS = [name for name in Transaction._fields if name != "digest"]
_PLAIN = re.compile(r"[A-Za-z0-9]")

#: Called with how many transactions of how many are written.
Progress = Callable[[int, int], None]


def export_ledger(database: Database, text_format: str, progress: Progress) -> Iterator[str]:
    """
    Write all transactions as of one moment, piece by piece.

    Args:
        database: Whose.

        text_format: `jsonl`, `csv` or `beancount`.

        progress: Called now and then.

    Raises:
        LedgerCorrupt: What is stored cannot be read, or not be written.
    """
    with database.snapshot() as connection:
        database.prove_values(connection)  # rather before something is written
        total = count_rows(connection).transactions
        write = {"jsonl": _jsonl, "csv": _csv, "beancount": _beancount}[text_format]
        yield from write(connection, _counted(connection, total, progress))


def _counted(connection: Snapshot, total: int, progress: Progress) -> Iterator[Transaction]:
    ordered = stream_transactions(connection, in_time_order=True)
    for done, transaction in enumerate(ordered, start=1):
        yield transaction
        if done % 1000 == 0:
            progress(done, total)
    progress(total, total)


def _written(transaction: Transaction, write: Callable[[Transaction], str]) -> str:
    try:
        return write(transaction)
    except (TypeError, ValueError, OverflowError) as error:
        # Times beyond the calendar, numbers beyond JSON's: nothing that was recorded by a request.
        problem = f"it cannot be written: {error}"
        raise LedgerCorrupt(row=name_of(transaction), problem=problem) from error


def _jsonl(_connection: Snapshot, transactions: Iterator[Transaction]) -> Iterator[str]:
    for transaction in transactions:
        yield _written(transaction, _json_line)


def _csv(_connection: Snapshot, transactions: Iterator[Transaction]) -> Iterator[str]:
    yield csv_line(_COLUMNS)
    for transaction in transactions:
        yield _written(transaction, _csv_line)


def _json_line(transaction: Transaction) -> str:
    return orjson.dumps(_record(transaction)).decode() + "\n"


def _csv_line(transaction: Transaction) -> str:
    values = _record(transaction).values()
    return csv_line(
        [orjson.dumps(value).decode() if isinstance(value, dict) else value for value in values]
    )


def _record(transaction: Transaction) -> dict[str, Any]:
    record = {name: getattr(transaction, name) for name in _COLUMNS}
    record["created_at"] = moment_of(transaction.created_at).isoformat(timespec="microseconds")
    return record


def _beancount(connection: Snapshot, transactions: Iterator[Transaction]) -> Iterator[str]:
    accounts = list(stream_accounts(connection))
    opened = [_account_day(account, "created_at") for account in accounts]
    changed = [_account_day(account, "updated_at") for account in accounts]
    yield f"{min(opened, default=_day(0))} open Assets:External\n"
    for account, day in zip(accounts, opened, strict=True):
        yield f"{day} open {_beancount_account(account.user_id, account.currency_code)}\n"
    for transaction in transactions:
        if transaction.state == State.POSTED and transaction.kind in MOVING_KINDS:
            yield _written(transaction, _beancount_transaction)
    closing = max(changed, default=_day(0)) + timedelta(days=1)
    for account in accounts:
        amount = sum_of(-account.posted_minor, account.currency_code)
        name = _beancount_account(account.user_id, account.currency_code)
        # Without "~ 0" Beancount would let a difference of one minor unit pass.
        yield f"{closing} balance {name} {amount} ~ 0 {unit_of(account.currency_code)}\n"


def _beancount_transaction(transaction: Transaction) -> str:
    """Write both sides of a transaction; what is owed to users is negative."""
    code, words = transaction.currency_code, transaction.description
    lines = [
        f"{_day(transaction.created_at)} * {_quoted(transaction.kind)} {_quoted(words)}",
        f"  transaction_id: {_quoted(transaction.transaction_id)}",
    ]
    for user_id, amount_minor in (
        (transaction.source_user_id, transaction.amount_minor),
        (transaction.target_user_id, -transaction.amount_minor),
    ):
        name = "Assets:External" if user_id == EXTERNAL else _beancount_account(str(user_id), code)
        lines.append(f"  {name}  {sum_of(amount_minor, code)} {unit_of(code)}")
    return "\n".join(lines) + "\n\n"


def _beancount_account(user_id: str, currency_code: str) -> str:
    """Spell an account with the letters Beancount allows, so that no two become the same."""
    spelled = "".join(
        letter if _PLAIN.match(letter) else f"-{ord(letter):02X}" for letter in user_id
    )
    return f"Liabilities:Wallet:U{spelled}:{currency_code}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _account_day(account: Account, column: str) -> date:
    row = f"accounts {account.user_id}/{account.currency_code}"
    return stored_moment(getattr(account, column), row=row, column=column).date()


def _day(time_us: int) -> date:
    return moment_of(time_us).date()
