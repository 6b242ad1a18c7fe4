"""Load what a batch decides on: its accounts, locked, and all that its commands name."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, bindparam, select, tuple_

from wallet_service.ledger.books import Account, Books, Entry, Hold, Outcome, Rules, Transaction
from wallet_service.ledger.commands import (
    AccountKey,
    CaptureHold,
    Command,
    ExpireHold,
    HoldCommand,
    ReverseTransaction,
    SpendingLimit,
    UpdateAccount,
    VoidHold,
    accounts_of,
)
from wallet_service.ledger.errors import LedgerCorrupt
from wallet_service.ledger.limits import Outflow, Window, is_rolling, read_limits, window_start
from wallet_service.ledger.reversals import original_keys
from wallet_service.storage.database import Database, RolledBack
from wallet_service.storage.moments import (
    Moment,
    Outlay,
    find_last_entries,
    find_next_spending,
)
from wallet_service.storage.schema import entries, holds, reversals

_Limited = tuple[AccountKey, SpendingLimit]

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
        outflows=_outflows(database, connection, accounts, _limits(accounts, commands), now=now),
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


def _limits(accounts: Mapping[AccountKey, Account], commands: Iterable[Command]) -> set[_Limited]:
    """Name the limits that spenders have in a window, or will once a command is carried out."""
    spenders = {getattr(command, "source", None) for command in commands}
    limits = [(key, limit) for key, account in accounts.items() for limit in account.limits]
    for command in commands:
        if isinstance(command, UpdateAccount):
            limits += [(command.target, limit) for limit in command.limits or ()]
    return {
        (key, limit)
        for key, limit in limits
        if key in spenders and limit.window != Window.TRANSACTION
    }


def _outflows(
    database: Database,
    connection: Connection,
    accounts: Mapping[AccountKey, Account],
    limits: Iterable[_Limited],
    *,
    now: int,
) -> dict[_Limited, Outflow]:
    """
    Find what had left each limited account before its windows began, and what frees room in them.

    There is room again once a window begins behind all but what the maximum has room for beside
    the holds. What the batch itself spends or gives back is not foreseen.
    """
    starts = {(key, limit): Moment(key, window_start(limit.window, now)) for key, limit in limits}
    last_entries = find_last_entries(database, connection, set(starts.values()))
    outflows: dict[_Limited, Outflow] = {}
    sums: dict[_Limited, Outlay] = {}
    counts: dict[_Limited, Outlay] = {}
    for name, moment in starts.items():
        before = last_entries.get(moment)
        outflow = Outflow(before.outflow_minor, before.outflow_count) if before else Outflow()
        outflows[name] = outflow
        key, limit = name
        if not is_rolling(limit.window):
            continue  # all its room comes back when the next one begins
        sequence = before.sequence if before else 0
        account = accounts.get(key) or Account(*key)
        if limit.max_minor is not None:
            kept = account.outflow_minor - max(0, limit.max_minor - account.held_minor)
            sums[name] = Outlay(key, max(outflow.minor, kept), sequence)
        if limit.max_count is not None:
            kept = account.outflow_count - max(0, limit.max_count - account.open_holds)
            counts[name] = Outlay(key, max(outflow.debits, kept), sequence)
    sum_times = _times_after(database, connection, sums, entries.c.outflow_minor)
    count_times = _times_after(database, connection, counts, entries.c.outflow_count)
    return {
        name: outflow._replace(
            freeing_sum_at=sum_times.get(name), freeing_count_at=count_times.get(name)
        )
        for name, outflow in outflows.items()
    }


def _times_after(
    database: Database,
    connection: Connection,
    outlays: Mapping[_Limited, Outlay],
    along: Column[int],
) -> dict[_Limited, int | None]:
    """Find by name when more than some figure had left an account."""
    found = find_next_spending(database, connection, set(outlays.values()), along)
    return {name: found.get(outlay) for name, outlay in outlays.items()}


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


def account_of(row: Sequence[Any]) -> Account:
    """Build an account from its table row; raises `LedgerCorrupt` for limits that are none."""
    account = Account(*row)
    account.limits = _limits_of(account) if account.limits else ()
    account.is_stored = True
    return account


def _limits_of(account: Account) -> tuple[SpendingLimit, ...]:
    try:
        return read_limits(account.limits)
    except (TypeError, ValueError) as error:
        row = f"accounts {account.user_id}/{account.currency_code}"
        raise LedgerCorrupt(row=row, problem="limits is no list of limits") from error


def transaction_of(row: Sequence[Any]) -> Transaction:
    """Build a transaction from its table row."""
    transaction = Transaction._make(row)
    return transaction._replace(
        refusal_values=transaction.refusal_values or {},
        metadata=transaction.metadata or {},
        arguments=transaction.arguments or {},
    )


def hold_of(row: Sequence[Any]) -> Hold:
    """Build a hold from its table row."""
    hold = Hold._make(row)
    return hold._replace(metadata=hold.metadata or {})


def _lines_of(transaction: Transaction) -> list[tuple[str | None, str, int]]:
    currency_code = transaction.currency_code
    sides = (
        (transaction.source_user_id, transaction.source_sequence),
        (transaction.target_user_id, transaction.target_sequence),
    )
    return [
        (user_id, currency_code, sequence) for user_id, sequence in sides if sequence is not None
    ]
