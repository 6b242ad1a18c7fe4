"""
Prove the books: every line, every balance, every link of every chain.

What this cannot see is a history rewritten from some line to its account's end with all hashes made
anew, or whole accounts removed with all their transactions: only a copy of the heads kept elsewhere
shows that.
"""

from collections.abc import Callable, Iterator
from typing import NoReturn

from wallet_service.ledger.books import EXTERNAL, Account, State, Transaction
from wallet_service.ledger.chain import entry_hash, transaction_digest
from wallet_service.ledger.errors import LedgerCorrupt
from wallet_service.storage.audit_queries import (
    Counts,
    Snapshot,
    StoredLine,
    count_rows,
    find_unwritten_side,
    stream_accounts,
    stream_lines,
    stream_transactions,
)
from wallet_service.storage.database import Database

#: Called with how many rows of how many are proven.
Progress = Callable[[int, int], None]


def verify(database: Database, progress: Progress) -> Counts:
    """
    Prove all books as of one moment, while others go on writing.

    Args:
        database: Whose books.

        progress: Called now and then.

    Returns:
        How many rows were proven.

    Raises:
        LedgerCorrupt: They contradict themselves; it names the first row found.
    """
    with database.snapshot() as connection:
        counts = count_rows(connection)
        total = sum(counts)
        for done, _ in enumerate(_proven_rows(connection), start=1):
            if done % 1000 == 0:
                progress(done, total)
        progress(total, total)
    return counts


def _proven_rows(connection: Snapshot) -> Iterator[object]:
    """Yield each row once it is proven."""
    yield from _proven_accounts(stream_accounts(connection), stream_lines(connection))
    for transaction in stream_transactions(connection):
        _prove_transaction(transaction)
        yield transaction
    unwritten = find_unwritten_side(connection)
    if unwritten:
        _corrupt(_name(unwritten), "one of its entries is missing or belongs to another")


def _proven_accounts(
    accounts: Iterator[Account], lines: Iterator[StoredLine]
) -> Iterator[Account | StoredLine]:
    """Walk both in the order of their keys, replaying each account's lines from nothing."""
    line = next(lines, None)
    for account in accounts:
        replayed = Account(account.user_id, account.currency_code)
        while line and _key(line) == (account.user_id, account.currency_code):
            _replay(replayed, line)
            yield line
            line = next(lines, None)
        if line and _key(line) < (account.user_id, account.currency_code):
            break
        _prove_account(account, replayed)
        yield account
    if line:
        _corrupt(_line_name(line), "its account is missing")


def _replay(account: Account, line: StoredLine) -> None:
    """Prove one line and move the replayed account past it."""
    entry, transaction = line
    name = _line_name(line)
    if entry.sequence != account.sequence + 1:
        _corrupt(
            f"entries {entry.user_id}/{entry.currency_code} #{account.sequence + 1}", "missing"
        )
    if transaction is None:
        _corrupt(name, f"its transaction {entry.transaction_id} is missing")
    if entry.balance_minor != account.posted_minor + entry.amount_minor:
        expected = account.posted_minor + entry.amount_minor
        _corrupt(name, f"balance_minor is {entry.balance_minor}, expected {expected}")
    if (entry.sequence, entry.amount_minor) not in _sides(transaction, entry.user_id):
        _corrupt(name, f"does not agree with its transaction {entry.transaction_id}")
    if entry.created_at != transaction.created_at or entry.created_at < account.updated_at:
        _corrupt(name, f"created_at {entry.created_at} is not in order")
    digest = transaction_digest(transaction)
    if entry.hash != entry_hash(entry, previous_hash=account.head_hash, digest=digest):
        _corrupt(name, f"its hash does not fit it or its transaction {entry.transaction_id}")
    account.sequence = entry.sequence
    account.posted_minor = entry.balance_minor
    account.head_hash = entry.hash
    account.updated_at = entry.created_at


def _sides(transaction: Transaction, user_id: str) -> list[tuple[int | None, int]]:
    """Return sequence and amount of the lines a transaction should have on a user's account."""
    sides = []
    if transaction.source_user_id == user_id:
        sides.append((transaction.source_sequence, -transaction.amount_minor))
    if transaction.target_user_id == user_id:
        sides.append((transaction.target_sequence, transaction.amount_minor))
    return sides


def _prove_account(account: Account, replayed: Account) -> None:
    name = f"accounts {account.user_id}/{account.currency_code}"
    if account.sequence != replayed.sequence:
        _corrupt(name, f"sequence is {account.sequence}, its last entry is #{replayed.sequence}")
    if account.posted_minor != replayed.posted_minor:
        expected = replayed.posted_minor
        _corrupt(name, f"posted_minor is {account.posted_minor}, its entries give {expected}")
    if account.head_hash != replayed.head_hash:
        _corrupt(name, "head_hash is not its last entry's")
    if account.available_minor < account.min_balance_minor:
        _corrupt(name, f"available {account.available_minor} is below its minimum")


def _prove_transaction(transaction: Transaction) -> None:
    """Prove what the entries do not: requests that moved nothing, and that no side is left out."""
    sides = (
        (transaction.source_user_id, transaction.source_sequence),
        (transaction.target_user_id, transaction.target_sequence),
    )
    has_entries = any(sequence is not None for _, sequence in sides)
    moves_money = transaction.state == State.POSTED and transaction.amount_minor > 0
    if moves_money and any(
        (sequence is None) != (user_id == EXTERNAL) for user_id, sequence in sides
    ):
        _corrupt(_name(transaction), "it moved money on one side only")
    if has_entries != moves_money:
        _corrupt(_name(transaction), "its state and its entries do not agree")
    if has_entries and transaction.digest is not None:
        _corrupt(_name(transaction), "it has a digest beside its entries")
    if not has_entries and transaction.digest != transaction_digest(transaction):
        _corrupt(_name(transaction), "its digest does not fit it")


def _key(line: StoredLine) -> tuple[str, str]:
    return line.entry.user_id, line.entry.currency_code


def _line_name(line: StoredLine) -> str:
    return f"entries {line.entry.user_id}/{line.entry.currency_code} #{line.entry.sequence}"


def _name(transaction: Transaction) -> str:
    return f"transactions {transaction.transaction_id}"


def _corrupt(row: str, problem: str) -> NoReturn:
    raise LedgerCorrupt(row=row, problem=problem)
