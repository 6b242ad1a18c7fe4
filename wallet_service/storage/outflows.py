"""Load what spending limits are judged by: what had left an account when their windows began."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Column, Connection

from wallet_service.ledger.books import Account
from wallet_service.ledger.commands import AccountKey, Command, SpendingLimit, UpdateAccount
from wallet_service.ledger.limits import Outflow, Window, is_rolling, window_start
from wallet_service.storage.database import Database
from wallet_service.storage.moments import Moment, Outlay, find_last_entries, find_next_spending
from wallet_service.storage.schema import entries

_Limited = tuple[AccountKey, SpendingLimit]


def load_outflows(
    database: Database,
    connection: Connection,
    accounts: Mapping[AccountKey, Account],
    commands: Sequence[Command],
    *,
    now: int,
) -> dict[_Limited, Outflow]:
    """
    Find what had left each limited account before its windows began, and what frees room in them.

    There is room again once a window begins behind all but what the maximum has room for beside
    the holds. What the batch itself spends or gives back is not foreseen.
    """
    starts = {
        (key, limit): Moment(key, window_start(limit.window, now))
        for key, limit in _limits(accounts, commands)
    }
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


def _limits(accounts: Mapping[AccountKey, Account], commands: Sequence[Command]) -> set[_Limited]:
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


def _times_after(
    database: Database,
    connection: Connection,
    outlays: Mapping[_Limited, Outlay],
    along: Column[int],
) -> dict[_Limited, int | None]:
    """Find by name when more than some figure had left an account."""
    found = find_next_spending(database, connection, set(outlays.values()), along)
    return {name: found.get(outlay) for name, outlay in outlays.items()}
