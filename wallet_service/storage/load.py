"""Load what a batch decides on: its accounts, locked, and all that its commands name."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import Connection, bindparam, select, tuple_

from wallet_service.ledger.books import Books, Entry, Hold, Outcome, Rules, Transaction
from wallet_service.ledger.commands import (
    AccountKey,
    CaptureHold,
    Command,
    ExpireHold,
    HoldCommand,
    ReverseTransaction,
    VoidHold,
    accounts_of,
)
from wallet_service.ledger.reversals import original_keys
from wallet_service.storage.database import Database, RolledBack
from wallet_service.storage.outflows import load_outflows
from wallet_service.storage.records import account_of, hold_of, transaction_of
from wallet_service.storage.schema import entries, holds, reversals

_LINES = select(entries).where(
    tuple_(entries.c.user_id, entries.c.currency_code, entries.c.sequence).in_(
        bindparam("lines", expanding=True)
    )
)
_HOLDS = select(holds).where(holds.c.hold_id.in_(bindparam("ids", expanding=True)))
_REVERSALS = select(reversals).where(
    reversals.c.transaction_id.in_(bindparam("ids", expanding=True))
)


def load_books(
    database: Database,
    connection: Connection,
    commands: Sequence[Command],
    *,
    clock: Callable[[], int],
    rules: Rules,
    skip_busy: bool,
) -> Books:
    """
    Lock and load everything some commands need, inside the batch's database transaction.

    The batch's time is read from the clock (microseconds since 1970) once the accounts are locked.
    What is not locked itself (holds, originals, recorded requests) is read in statements of its own
    after the locks on the accounts it belongs to: they see what the locks' last owner committed.
    Recorded requests are looked for only where the locking statement saw one, by a snapshot older
    than its locks: one that was recorded meanwhile meets its primary key when it is written again,
    and the batch is run again (docs/decisions/0021).
    With `skip_busy` accounts that others hold locked are noted instead of waited for.
    """
    hold_ids = {command.hold_id for command in commands if isinstance(command, HoldCommand)}
    original_ids = {
        command.original_id for command in commands if isinstance(command, ReverseTransaction)
    }
    keys = _touched(
        commands,
        _load_holds(connection, hold_ids),
        _load_transactions(database, connection, original_ids),
    )
    ids = {command.transaction_id for command in commands}
    locked = database.dialect.lock_accounts(
        connection, sorted(keys), list(ids), skip_busy=skip_busy
    )
    now = clock()  # once the locks are held: what is read later was made earlier
    accounts = {account.key: account for account in map(account_of, locked.rows)}
    outcomes = load_outcomes(
        database, connection, original_ids | ids if locked.may_be_recorded else original_ids
    )
    # Repeated requests show theirs as they are now, without a lock.
    shown_ids = {hold_id for known in outcomes.values() if (hold_id := known.transaction.hold_id)}
    holds_by_id = {hold.hold_id: hold for hold in _load_holds(connection, hold_ids | shown_ids)}
    if hold_ids or original_ids:
        named_holds = [holds_by_id[name] for name in hold_ids & holds_by_id.keys()]
        originals = [outcomes[name].transaction for name in original_ids & outcomes.keys()]
        if not _touched(commands, named_holds, originals) <= keys:
            raise RolledBack("a hold or transaction that the batch names was made meanwhile")
    return Books(
        now=now,
        rules=rules,
        accounts=accounts,
        busy=_present(database, connection, keys) - accounts.keys() if skip_busy else frozenset(),
        outcomes=outcomes,
        holds=holds_by_id,
        reversed_minor=_reversed_minor(connection, original_ids),
        outflows=load_outflows(database, connection, accounts, commands, now=now),
    )


def _present(
    database: Database, connection: Connection, keys: Iterable[AccountKey]
) -> set[AccountKey]:
    """Tell which of some accounts were ever opened, locked or not."""
    found = database.dialect.find_accounts(connection, list(keys)) if keys else ()
    return {account_of(row).key for row in found}


def _touched(
    commands: Sequence[Command], named_holds: Iterable[Hold], originals: Iterable[Transaction]
) -> set[AccountKey]:
    """
    Name all accounts that commands may touch.

    Holds and originals lead to theirs by their immutable parties. An id that is used again, here or
    since before, leads to those of all that it may mean.
    """
    if not any(isinstance(command, HoldCommand | ReverseTransaction) for command in commands):
        return {key for command in commands for key in accounts_of(command)}
    parties: defaultdict[str, set[AccountKey]] = defaultdict(set)
    for hold in named_holds:
        sides = (hold.user_id, hold.target_user_id)
        parties[hold.hold_id] = {AccountKey(user, hold.currency_code) for user in sides if user}
    for transaction in originals:
        parties[transaction.transaction_id] |= set(original_keys(transaction))
    keys: set[AccountKey] = set()
    for command in commands:
        match command:
            case ReverseTransaction():
                touched = parties[command.original_id]
            case CaptureHold(to_user_id=str(to_user_id)):
                named = parties[command.hold_id]
                touched = named | {AccountKey(to_user_id, key.currency_code) for key in named}
            case CaptureHold() | VoidHold() | ExpireHold():
                touched = parties[command.hold_id]
            case _:
                touched = set(accounts_of(command))
        parties[command.transaction_id] |= touched
        keys |= touched
    return keys


def _reversed_minor(connection: Connection, original_ids: set[str]) -> dict[str, int]:
    if not original_ids:
        return {}
    rows = connection.execute(_REVERSALS, {"ids": list(original_ids)})
    return {row.transaction_id: row.reversed_minor for row in rows}


def load_outcomes(
    database: Database, connection: Connection, ids: Iterable[str]
) -> dict[str, Outcome]:
    """Read recorded transactions and their entries, by transaction id."""
    found = _load_transactions(database, connection, ids)
    lines = [line for transaction in found for line in _lines_of(transaction)]
    by_id: dict[str, list[Entry]] = {}
    if lines:
        found_lines = map(Entry._make, connection.execute(_LINES, {"lines": lines}))
        # As they were made: the debit first, whoever's account it is.
        for entry in sorted(found_lines, key=lambda entry: entry.amount_minor):
            by_id.setdefault(entry.transaction_id, []).append(entry)
    return {
        transaction.transaction_id: Outcome(
            transaction, tuple(by_id.get(transaction.transaction_id, ())), is_replayed=True
        )
        for transaction in found
    }


def _load_transactions(
    database: Database, connection: Connection, ids: Iterable[str]
) -> list[Transaction]:
    wanted = list(ids)
    if not wanted:
        return []
    return list(map(transaction_of, database.dialect.find_transactions(connection, wanted)))


def _load_holds(connection: Connection, ids: Iterable[str]) -> list[Hold]:
    wanted = list(ids)
    if not wanted:
        return []
    return [hold_of(row) for row in connection.execute(_HOLDS, {"ids": wanted})]


def _lines_of(transaction: Transaction) -> list[tuple[str | None, str, int]]:
    currency_code = transaction.currency_code
    sides = (
        (transaction.source_user_id, transaction.source_sequence),
        (transaction.target_user_id, transaction.target_sequence),
    )
    return [
        (user_id, currency_code, sequence) for user_id, sequence in sides if sequence is not None
    ]
