"""
Prove the books: every line, every balance, every link of every chain.

What this cannot see is a history rewritten from some line to its account's end with all hashes made
anew, or whole accounts removed with all their transactions: only a copy of the heads kept elsewhere
shows that.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from heapq import merge
from itertools import groupby
from typing import Any, NamedTuple

from wallet_service.audit.holds import proven_holds
from wallet_service.audit.transactions import corrupt, digest_of, name_of, prove_transaction
from wallet_service.ledger.books import Account, AccountState, Transaction
from wallet_service.ledger.chain import entry_hash
from wallet_service.ledger.commands import AccountKey, Kind, SpendingLimit
from wallet_service.storage.audit_queries import (
    Counts,
    Reserved,
    Snapshot,
    StoredLine,
    count_rows,
    find_unwritten_side,
    find_wrong_reversal,
    find_wrong_sum,
    stream_account_changes,
    stream_accounts,
    stream_lines,
    stream_reserved,
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
        # Spelled in another way an id reads the same, but its request would be taken for a new one.
        database.prove_values(connection, ids_only=True)
        counts = count_rows(connection)
        total = sum(counts)
        for done, _ in enumerate(_proven_rows(connection), start=1):
            if done % 1000 == 0:
                progress(done, total)
        progress(total, total)
    return counts


def _proven_rows(connection: Snapshot) -> Iterator[object]:
    """Yield each row once it is proven."""
    lines = stream_lines(connection)
    yield from _proven_accounts(stream_accounts(connection), lines, _expected(connection))
    for transaction in stream_transactions(connection):
        prove_transaction(transaction)
        yield transaction
    yield from proven_holds(connection)
    _prove_references(connection)


def _prove_references(connection: Snapshot) -> None:
    """Prove what the database can compare by itself: references and reversals."""
    unwritten = find_unwritten_side(connection)
    if unwritten:
        corrupt(name_of(unwritten), "one of its entries is missing or belongs to another")
    wrong = find_wrong_sum(connection)
    if wrong:
        corrupt(
            f"reversals {wrong.original_id}",
            f"reversed_minor is {wrong.noted_minor}, its reversals sum to {wrong.total_minor},"
            f" it was {wrong.amount_minor}",
        )
    strayed = find_wrong_reversal(connection)
    if strayed:
        problem = f"{strayed.reversal_of}, which it gives back, is missing or was another movement"
        corrupt(name_of(strayed), problem)


class _Expected(NamedTuple):
    """What an account is by everything but its entries, and the record that says so."""

    account: Account
    changed_at: int
    row: str


_Fact = Transaction | Reserved
#: An account's minimum balance, state and limits.
_Settings = tuple[int, str, tuple[SpendingLimit, ...]]
_AS_OPENED: _Settings = (0, AccountState.ACTIVE, ())


def _expected(connection: Snapshot) -> Iterator[_Expected]:
    """Tell in the order of accounts what operators did to each, and what holds reserve on it."""
    changes: Iterator[_Fact] = stream_account_changes(connection)
    for key, told in groupby(merge(changes, stream_reserved(connection), key=_about), key=_about):
        yield _follow(key, told)


def _about(fact: _Fact) -> AccountKey:
    if isinstance(fact, Reserved):
        return fact.key
    return AccountKey(str(fact.target_user_id), fact.currency_code)


def _follow(key: AccountKey, facts: Iterator[_Fact]) -> _Expected:
    account = Account(*key)
    changed_at, row = 0, f"holds of {key.user_id}/{key.currency_code}"
    settings = Counter([_AS_OPENED])
    for fact in facts:
        if isinstance(fact, Reserved):
            account.held_minor, account.open_holds = fact.minor, fact.holds
            continue
        prove_transaction(fact)
        if not account.created_at:
            account.created_at, row = fact.created_at, name_of(fact)
        if fact.kind == Kind.UPDATE_ACCOUNT:
            changed_at = fact.created_at
            # Each change begins where another ended, so all but the last cancel out: changes of
            # one moment need no order.
            settings[_settings(fact.arguments["after"])] += 1
            settings[_settings(fact.arguments["before"])] -= 1
    remaining = [each for each, count in settings.items() if count]
    if len(remaining) != 1:
        corrupt(f"accounts {key.user_id}/{key.currency_code}", "one of its changes is missing")
    account.min_balance_minor, account.state, account.limits = remaining[0]
    return _Expected(account, changed_at, row)


def _settings(recorded: Mapping[str, Any]) -> _Settings:
    limits = tuple(SpendingLimit(*limit) for limit in recorded["limits"])
    return recorded["min_balance"], recorded["state"], limits


def _proven_accounts(
    accounts: Iterator[Account], lines: Iterator[StoredLine], expected: Iterator[_Expected]
) -> Iterator[Account | StoredLine]:
    """Walk all in the order of their keys, replaying each account's lines from nothing."""
    line, told = next(lines, None), next(expected, None)
    for account in accounts:
        _prove_owned(line, told, account.key)
        replayed, changed_at = Account(*account.key), 0
        if told and told.account.key == account.key:
            replayed, changed_at, _ = told
            told = next(expected, None)
        opened_at = [replayed.created_at] if replayed.created_at else []
        while line and _key(line) == account.key:
            opened_at.append(line.entry.created_at)
            del opened_at[2:]
            _replay(replayed, line)
            yield line
            line = next(lines, None)
        replayed.created_at = min(opened_at, default=0)
        replayed.updated_at = max(replayed.updated_at, changed_at, replayed.created_at)
        _prove_account(account, replayed)
        yield account
    _prove_owned(line, told, None)


def _prove_owned(line: StoredLine | None, told: _Expected | None, key: AccountKey | None) -> None:
    """Prove that what comes next is not of an account before the next one; None: there is none."""
    if line and (key is None or _key(line) < key):
        corrupt(_line_name(line), "its account is missing")
    if told and (key is None or told.account.key < key):
        corrupt(told.row, "its account is missing")


def _replay(account: Account, line: StoredLine) -> None:
    """Prove one line and move the replayed account past it."""
    entry, transaction = line
    name = _line_name(line)
    if entry.sequence != account.sequence + 1:
        corrupt(f"entries {entry.user_id}/{entry.currency_code} #{account.sequence + 1}", "missing")
    if transaction is None:
        corrupt(name, f"its transaction {entry.transaction_id} is missing")
    if entry.balance_minor != account.posted_minor + entry.amount_minor:
        expected = account.posted_minor + entry.amount_minor
        corrupt(name, f"balance_minor is {entry.balance_minor}, expected {expected}")
    if (entry.sequence, entry.amount_minor) not in _sides(transaction, entry.user_id):
        corrupt(name, f"does not agree with its transaction {entry.transaction_id}")
    if entry.created_at != transaction.created_at or entry.created_at < account.updated_at:
        corrupt(name, f"created_at {entry.created_at} is not in order")
    _prove_outflow(account, line, name)
    digest = digest_of(transaction)
    if entry.hash != entry_hash(entry, previous_hash=account.head_hash, digest=digest):
        corrupt(name, f"its hash does not fit it or its transaction {entry.transaction_id}")
    account.sequence = entry.sequence
    account.posted_minor = entry.balance_minor
    account.head_hash = entry.hash
    account.updated_at = entry.created_at
    account.outflow_minor = entry.outflow_minor
    account.outflow_count = entry.outflow_count


def _prove_outflow(account: Account, line: StoredLine, name: str) -> None:
    """Prove that an entry adds up what was spent: debits, less what reversals gave back."""
    entry, transaction = line
    assert transaction
    added_minor = entry.outflow_minor - account.outflow_minor
    added_count = entry.outflow_count - account.outflow_count
    if transaction.kind == Kind.REVERSAL and entry.amount_minor > 0:
        is_right = added_minor == -entry.amount_minor and added_count in {0, -1}
    elif transaction.kind != Kind.REVERSAL and entry.amount_minor < 0:
        is_right = (added_minor, added_count) == (-entry.amount_minor, 1)
    else:
        is_right = (added_minor, added_count) == (0, 0)
    if not is_right:
        corrupt(name, f"outflow {entry.outflow_minor}/{entry.outflow_count} does not add up")


def _sides(transaction: Transaction, user_id: str) -> list[tuple[int | None, int]]:
    """Return sequence and amount of the lines a transaction should have on a user's account."""
    sides = []
    if transaction.source_user_id == user_id:
        sides.append((transaction.source_sequence, -transaction.amount_minor))
    if transaction.target_user_id == user_id:
        sides.append((transaction.target_sequence, transaction.amount_minor))
    return sides


def _prove_account(account: Account, replayed: Account) -> None:
    """Prove that an account is what its entries, its holds and its operators made of it."""
    name = f"accounts {account.user_id}/{account.currency_code}"
    for column in fields(Account):
        actual, expected = getattr(account, column.name), getattr(replayed, column.name)
        if column.name != "is_stored" and actual != expected:
            corrupt(name, f"{column.name} is {_shown(actual)}, expected {_shown(expected)}")
    if account.available_minor < account.min_balance_minor:
        corrupt(name, f"available {account.available_minor} is below its minimum")


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _key(line: StoredLine) -> AccountKey:
    return AccountKey(line.entry.user_id, line.entry.currency_code)


def _line_name(line: StoredLine) -> str:
    return f"entries {line.entry.user_id}/{line.entry.currency_code} #{line.entry.sequence}"
